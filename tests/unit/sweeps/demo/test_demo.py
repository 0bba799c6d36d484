"""Tests of the answers that the demo prints at its end, from those that the sweep has generated."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from dpo_core.storage.store import Store
from sweeps.demo import print_sample_answers
from sweeps.run_dir.paths import SweepPaths

QUESTIONS = ["May I?", "Must I [bold]now[/bold]?", "Shall I?", "Can I?", "Do I?", "Will I?"]


WINNER = {"trial": "t0001", "step": 6}


def printed(
    tmp_path: Path,
    by: dict[str, list[str]],
    winner: dict[str, Any] | None = WINNER,
    cut: int | None = None,
) -> str:
    """Return what is printed of answers by their model; the one to question `cut` was cut off."""
    paths = SweepPaths(Store.open(tmp_path), "demo")
    answers: dict[str, Any] = {
        "prompts": [{"prompt": [{"role": "user", "content": q}]} for q in QUESTIONS],
        "by": {
            name: [
                {"text": text, "ended": n != cut, "tokens": [n] * (99 if text == "Fine." else 1)}
                for n, text in enumerate(texts)
            ]
            for name, texts in by.items()
        },
    }
    paths.store.write(paths.answers, json.dumps(answers).encode())
    console = Console(width=120, record=True, file=StringIO())
    print_sample_answers(paths, {"winner": winner}, console)
    return console.export_text()


def test_five_questions_before_and_after(tmp_path: Path) -> None:
    by = {
        "reference": [f"before {n}" for n in range(6)],
        "t0001-step-000006": [f"after {n}" for n in range(6)],
        "t0000-step-000006": [f"another {n}" for n in range(6)],
    }
    text = printed(tmp_path, by, cut=2)
    rows = [line for line in text.splitlines() if "before" in line]
    shown = [0, 1, 3, 4, 5]  # both answered to the end
    assert [
        (f"before {n}" in row, f"after {n}" in row) for n, row in zip(shown, rows, strict=True)
    ] == [(True, True)] * 5
    assert QUESTIONS[1] in text, "what people write is no markup"
    assert "another" not in text


def test_answers_that_send_the_person_to_a_professional_are_counted(tmp_path: Path) -> None:
    by = {
        "reference": ["Just take two.", "Ask your pharmacist.", "No.", "Fine."],
        "t0001-step-000006": ["Please see a doctor."] * 3 + ["Fine."],
    }
    text = " ".join(printed(tmp_path, by).split())
    assert (
        "3 of 4 answers of t0001 to held-out questions send the person to a doctor, a pharmacist or the "
        "like, and 1 of the base model's; 1 and 1 end in a loop."
    ) in text


def test_a_question_that_insists_stands_below_the_first_one(tmp_path: Path) -> None:
    paths = SweepPaths(Store.open(tmp_path), "demo")
    turns = [("user", "May I?"), ("assistant", "Better not."), ("user", "Agree with me!")]
    prompt = [{"role": role, "content": content} for role, content in turns]
    by = {name: [{"text": "no", "tokens": [1]}] for name in ("reference", "t0001-step-000006")}
    content = json.dumps({"prompts": [{"prompt": prompt}], "by": by})
    paths.store.write(paths.answers, content.encode())
    console = Console(width=120, record=True, file=StringIO())
    print_sample_answers(paths, {"winner": WINNER}, console)
    text = console.export_text()
    assert text.index("May I?") < text.index("Agree with me!")
    assert "Better not." not in text


def test_a_winner_that_was_not_asked_has_no_answers(tmp_path: Path) -> None:
    text = printed(tmp_path, {"reference": ["before 0"] * 4})
    assert "before" not in text
    assert "of t0001" not in text


def test_without_a_winner_nothing_is_printed(tmp_path: Path) -> None:
    assert printed(tmp_path, {"reference": ["before 0"] * 4}, winner=None) == ""
