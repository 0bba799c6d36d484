"""What was learnt from and what came out, in words: the data's audit, answers side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeps.finalize.sample_answers import name_of
from sweeps.report import formatting as shown
from sweeps.report.blocks import Answers, Block, Column, Plot, Row, Section, Text, number, table
from sweeps.report.plots import bars_and_intervals as spans
from sweeps.report.plots import text_plots
from sweeps.report.report_data import Evidence
from sweeps.selection.verdict import INCUMBENT, REFERENCE

_MOST_ANSWERS = 12
_SHOWN_CHARACTERS = 2000


def audit_section(evidence: Evidence) -> Section:
    """The findings that `prepare` or `audit` left, and the size of each split."""
    prepared, audit = evidence.prepared, evidence.audit
    if not prepared and not audit:
        return Section("data", "Data", (Text("The data has not been prepared yet.", "note"),))
    blocks: list[Block] = []
    if prepared.get("reports"):
        columns = [Column("split"), *map(number, _REPORTED)]
        rows = [
            Row((split, *(_count(report.get(name)) for name in _REPORTED.values())))
            for split, report in prepared["reports"].items()
        ]
        blocks.append(table("Splits, and what was cut to data.max_tokens", columns, rows))
    if audit.get("histogram"):
        blocks.append(_lengths(audit))
    for source, alpha in (audit.get("annotator_agreement") or {}).items():
        blocks.append(Text(f"Annotators of {source} agree with Krippendorff's α = {alpha:.2f}."))
    findings = audit.get("findings") or prepared.get("findings") or []
    if findings:
        columns = [Column("severity"), number("number"), Column("finding", wide=True)]
        columns += [Column("such as", wide=True), Column("remedy", wide=True)]
        rows = [_finding(finding) for finding in findings]
        blocks.append(table("Findings of the audit", columns, rows))
    else:
        blocks.append(Text("The audit found nothing to say.", "note"))
    return Section("data", "Data", tuple(blocks))


def _lengths(audit: Mapping[str, Any]) -> Plot:
    """How long prompts and answers are, of all splits."""
    parts = audit["histogram"]
    figure = spans.profiles(
        {part: (h["edges"], h["counts"]) for part, h in parts.items()}, "tokens"
    )
    lines = tuple(
        f"{part:<9} {text_plots.sparkline(h['counts'], 0, max(h['counts']))}  "
        f"{h['edges'][0]:.0f} to {h['edges'][-1]:.0f} tokens"
        for part, h in parts.items()
    )
    return Plot("lengths", "Tokens of prompts and answers, all splits", figure, lines)


def answers_section(evidence: Evidence) -> Section:
    """What the models answer to held-out prompts, and the pairs that the winner ranks most wrongly."""
    blocks: list[Block] = list(_side_by_side(evidence))
    if not blocks:
        blocks.append(Text("No answers have been generated for this sweep.", "note"))
    mistakes = _mistakes(evidence)
    if mistakes:
        who = f"policy ({evidence.subject_name})"
        blocks += [Text(f"Pairs of the select split that the {who} ranks most wrongly:"), *mistakes]
    return Section("answers", "Side by side", tuple(blocks))


def _side_by_side(evidence: Evidence) -> Iterator[Answers]:
    """Of the reference, the subject and the incumbent, as far as they were asked."""
    held = evidence.answers["by"]
    names = {"reference": REFERENCE, "incumbent": INCUMBENT}
    if evidence.subject:
        names[evidence.subject_name] = name_of(evidence.subject)
    asked = {who: held[name] for who, name in names.items() if name in held}
    for at, row in enumerate(evidence.answers.get("prompts", [])[:_MOST_ANSWERS]):
        given = {who: rows[at] for who, rows in asked.items()}
        said = tuple((_who(who, one), _text(one["text"])) for who, one in given.items())
        if said:
            yield Answers(_text(row["prompt"]), said)


def _who(who: str, answer: Mapping[str, Any]) -> str:
    cut = "" if answer.get("ended", True) else ", cut"
    return f"{who} ({len(answer['tokens'])} tokens{cut})"


_REPORTED = {
    "pairs": "pairs",
    "prompt tokens": "prompt_tokens",
    "chosen tokens": "chosen_tokens",
    "rejected tokens": "rejected_tokens",
    "prompts cut": "prompts_cut",
    "answers cut": "answers_cut",
    "indistinct": "indistinct",
}


def _finding(finding: Mapping[str, Any]) -> Row:
    number_ = finding.get("number")
    told = shown.share(number_) if finding.get("is_share") else shown.value(number_)
    places = ", ".join(map(str, finding.get("places") or ())) or shown.MISSING
    cells = (str(finding.get("severity")), told, str(finding.get("message")), places)
    return Row((*cells, str(finding.get("remedy") or shown.MISSING)))


def _mistakes(evidence: Evidence) -> list[Answers]:
    unit = "nats a token" if evidence.objective == "token_reward_accuracy" else "nats"
    return [
        Answers(
            _text(row["prompt"]),
            (
                ("people preferred", _text(row["chosen"])),
                (f"the policy, by {-margin:.1f} {unit}", _text(row["rejected"])),
            ),
        )
        for row, margin in evidence.mistakes
    ]


def _text(content: Any) -> str:
    """Of a string, or of chat messages with their roles where there are several."""
    if isinstance(content, str):
        text = content
    elif isinstance(content, Sequence) and len(content) == 1:
        text = str(content[0].get("content"))
    elif isinstance(content, Sequence):
        text = "\n\n".join(f"{m.get('role')}: {m.get('content')}" for m in content)
    else:
        text = str(content)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} …"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else shown.value(value)
