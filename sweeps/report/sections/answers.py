"""What was learnt from and what came out, in words: the data's audit, answers side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeps.report.blocks import Answers, Block, Section, Text
from sweeps.report.report_data import Evidence
from sweeps.run_dir.answers import name_of
from sweeps.selection.verdict import INCUMBENT, REFERENCE

_MOST_ANSWERS = 12
_SHOWN_CHARACTERS = 2000


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
