"""The section with generated answers side by side, and with the pairs that are ranked most wrongly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dpo_core.evaluation.failure_modes import loops
from sweeps.report.blocks import Answers, Block, Column, Row, Section, Table, Text, number, table
from sweeps.report.report_data import ReportData
from sweeps.run_dir.answers import checkpoint_name
from sweeps.run_dir.json_types import AnswerJson, Content
from sweeps.selection.verdict import INCUMBENT, REFERENCE

_MOST_PROMPTS = 12
_MOST_CHARACTERS = 2000


def answers_section(data: ReportData) -> Section:
    """Show answers to held-out prompts, and the pairs that the highlighted policy ranks wrongly."""
    models = _models(data)
    blocks: list[Block] = [_counts(models), *_answers_to_prompts(data, models)] if models else []
    if not blocks:
        blocks.append(Text("No answers have been generated for this sweep.", "note"))
    worst_pairs = _worst_pairs(data)
    if worst_pairs:
        policy = f"policy ({data.highlighted_label})"
        heading = f"Pairs of the select split that the {policy} ranks most wrongly:"
        blocks += [Text(heading), *worst_pairs]
    return Section("answers", "Sample answers", tuple(blocks))


def _models(data: ReportData) -> dict[str, Sequence[AnswerJson]]:
    """Return the answers of reference, incumbent and highlighted policy, if any, by their labels."""
    names = {"reference": REFERENCE, "incumbent": INCUMBENT}
    if data.highlighted:
        names[data.highlighted_label] = checkpoint_name(data.highlighted)
    stored = data.answers["by"]
    return {label: stored[name] for label, name in names.items() if name in stored}


def _counts(models: Mapping[str, Sequence[AnswerJson]]) -> Table:
    """Count what the guardrails on answers count, for each model."""
    columns = [Column("model"), *map(number, ("answers", "ended", "mean tokens", "loop or empty"))]
    rows = []
    for label, answers in models.items():
        tokens = [answer["tokens"] for answer in answers]
        cells = (
            label,
            str(len(answers)),
            str(sum(answer.get("ended", True) for answer in answers)),
            f"{sum(map(len, tokens)) / max(1, len(tokens)):.0f}",
            str(sum(map(loops, tokens))),
        )
        rows.append(Row(cells))
    return table("All sampled answers", columns, rows)


def _answers_to_prompts(
    data: ReportData, models: Mapping[str, Sequence[AnswerJson]]
) -> Iterator[Answers]:
    """Yield each prompt, up to a dozen, with the answers of all models."""
    for position, row in enumerate(data.answers.get("prompts", [])[:_MOST_PROMPTS]):
        answers = tuple(
            (_author(label, rows[position]), _shown_text(rows[position]["text"]))
            for label, rows in models.items()
        )
        yield Answers(_shown_text(row["prompt"]), answers)


def _author(label: str, answer: AnswerJson) -> str:
    cut = "" if answer.get("ended", True) else ", cut off"
    return f"{label} ({len(answer['tokens'])} tokens{cut})"


def _worst_pairs(data: ReportData) -> list[Answers]:
    return [
        Answers(
            _shown_text(pair["prompt"]),
            (
                ("people preferred", _shown_text(pair["chosen"])),
                (
                    f"the policy preferred, by {-margin:.1f} {data.margin_unit}",
                    _shown_text(pair["rejected"]),
                ),
            ),
        )
        for pair, margin in data.worst_pairs
    ]


def _shown_text(content: Content) -> str:
    """Return the beginning of a text; where it has several messages, with their roles."""
    if isinstance(content, str):
        text = content
    elif len(content) == 1:
        text = str(content[0].get("content"))
    else:
        text = "\n\n".join(f"{m.get('role')}: {m.get('content')}" for m in content)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]} …"
