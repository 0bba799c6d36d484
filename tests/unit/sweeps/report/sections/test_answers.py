"""Tests of the section with sample answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweeps.report.blocks import Answers, Section
from sweeps.report.report_data import ReportData
from sweeps.report.sections.answers import answers_section
from tests.support.report_sections import cells_by_column, tables, texts


def answers(section: Section) -> list[Answers]:
    return [block for block in section.blocks if isinstance(block, Answers)]


def with_answers(data: ReportData, prompts: int, **by: list[dict[str, Any]]) -> ReportData:
    rows = [{"prompt": [{"role": "user", "content": f"question {n}"}]} for n in range(prompts)]
    return replace(data, answers={"prompts": rows, "by": by}, worst_pairs=[])


def test_answers_of_all_models_stand_below_their_prompt(ended: ReportData) -> None:
    assert ended.highlighted is not None
    trial, step = ended.highlighted
    winner = [{"text": f"after {n}", "tokens": [1], "ended": False} for n in range(2)]
    data = with_answers(
        ended,
        2,
        reference=[{"text": f"before {n}", "tokens": [1, 2]} for n in range(2)],
        another=[{"text": "?", "tokens": [1]}] * 2,
        **{f"{trial}-step-{step:06d}": winner},
    )
    assert answers(answers_section(data)) == [
        Answers(
            f"question {n}",
            (("reference (2 tokens)", f"before {n}"), ("winner (1 tokens, cut off)", f"after {n}")),
        )
        for n in range(2)
    ]


def test_all_answers_are_counted(ended: ReportData) -> None:
    rows = [
        {"text": "a", "tokens": list(range(30)), "ended": True},
        {"text": "b", "tokens": [1, 2] * 40, "ended": False},
        {"text": "", "tokens": [], "ended": True},
    ]
    data = with_answers(ended, 3, reference=rows[:1] * 3, incumbent=rows)
    assert cells_by_column(tables(answers_section(data))["All sampled answers"]) == [
        {"model": "reference", "answers": "3", "ended": "3", "mean tokens": "30",
         "loop or empty": "0"},
        {"model": "incumbent", "answers": "3", "ended": "2", "mean tokens": "37",
         "loop or empty": "2"},
    ]  # fmt: skip


def test_a_dozen_prompts_are_enough(ended: ReportData) -> None:
    data = with_answers(ended, 20, incumbent=[{"text": "yes", "tokens": [1]}] * 20)
    assert len(answers(answers_section(data))) == 12


def test_without_answers_it_says_so(ended: ReportData) -> None:
    section = answers_section(with_answers(ended, 0))
    assert texts(section) == ["No answers have been generated for this sweep."]
    section = answers_section(with_answers(ended, 3))
    assert answers(section) == [], "a prompt that nobody answered is not shown"


def test_the_worst_pairs_have_both_answers_and_the_margin(ended: ReportData) -> None:
    pair = {"id": "a", "prompt": "May I?", "chosen": "no", "rejected": "yes"}
    data = replace(with_answers(ended, 0), worst_pairs=[(pair, -2.34)])
    section = answers_section(data)
    assert (
        texts(section)[-1]
        == "Pairs of the select split that the policy (winner) ranks most wrongly:"
    )
    assert answers(section) == [
        Answers(
            "May I?", (("people preferred", "no"), ("the policy preferred, by 2.3 nats", "yes"))
        )
    ]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("plain", "plain"),
        ([{"role": "user", "content": "one"}], "one"),
        (
            [{"role": "system", "content": "be brief"}, {"role": "user", "content": "two"}],
            "system: be brief\n\nuser: two",
        ),
        ("x" * 2001, "x" * 2000 + " …"),
    ],
)
def test_a_prompt_is_text_with_roles_where_it_has_several(
    ended: ReportData, prompt: object, text: str
) -> None:
    pair = {"id": "a", "prompt": prompt, "chosen": "no", "rejected": "yes"}
    data = replace(with_answers(ended, 0), worst_pairs=[(pair, -1.0)])
    assert answers(answers_section(data))[0].prompt == text
