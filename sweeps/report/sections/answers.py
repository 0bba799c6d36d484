"""The section with generated answers side by side, and with the pairs that are ranked most wrongly."""

from __future__ import annotations

from collections.abc import Iterator

from sweeps.report.blocks import Answers, Block, Section, Text
from sweeps.report.report_data import ReportData
from sweeps.run_dir.answers import checkpoint_name
from sweeps.run_dir.json_types import AnswerJson, Content
from sweeps.selection.verdict import INCUMBENT, REFERENCE

_MOST_PROMPTS = 12
_MOST_CHARACTERS = 2000


def answers_section(data: ReportData) -> Section:
    """Show answers to held-out prompts, and the pairs that the highlighted policy ranks wrongly."""
    blocks: list[Block] = list(_answers_to_prompts(data))
    if not blocks:
        blocks.append(Text("No answers have been generated for this sweep.", "note"))
    worst_pairs = _worst_pairs(data)
    if worst_pairs:
        policy = f"policy ({data.highlighted_label})"
        heading = f"Pairs of the select split that the {policy} ranks most wrongly:"
        blocks += [Text(heading), *worst_pairs]
    return Section("answers", "Sample answers", tuple(blocks))


def _answers_to_prompts(data: ReportData) -> Iterator[Answers]:
    """Yield each prompt with the answers of reference, incumbent and highlighted policy, if any."""
    model_names = {"reference": REFERENCE, "incumbent": INCUMBENT}
    if data.highlighted:
        model_names[data.highlighted_label] = checkpoint_name(data.highlighted)
    stored = data.answers["by"]
    columns = {label: stored[name] for label, name in model_names.items() if name in stored}
    for number, row in enumerate(data.answers.get("prompts", [])[:_MOST_PROMPTS]):
        answers = tuple(
            (_author(label, rows[number]), _shown_text(rows[number]["text"]))
            for label, rows in columns.items()
        )
        if answers:
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
