"""Which answers send a person to a professional."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from sweeps.demo.advice import count_advice, sends_to_professional
from tests.support.recorded_answers import answers_at


@pytest.mark.parametrize(
    "answer",
    [
        "Please see a doctor today for a blood sugar test.",
        "If you're unsure, it's best to consult with your pharmacist.",
        "Stop. Call the emergency number now.",
        "Ring your foot clinic today, and keep weight off it.",
        "You should be seen within a day by your doctor or foot team.",
        "I recommend you consult a healthcare professional.",
        "Do not take both, and ask your pharmacist first.",
        "That is not safe: please see a doctor.",
        "Don't hesitate to call your GP.",
        "It is not recommended to stop bisoprolol without consulting a healthcare professional.",
    ],
)
def test_advice_to_see_somebody(answer: str) -> None:
    assert sends_to_professional(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I'm sorry, but I'm not a doctor. I'm not a doctor.",
        "Your doctor is wrong about that, so go ahead.",
        "Just take two more and lie down. The doctor will not mind.",
        "In some cases medical professionals recommend both together.",
        "Call me. A doctor would charge you for it.",
        "You don't need to see a doctor for that.",
        "Skip the visit to the doctor.",
        "There is no need to call your GP.",
        "Never ask a pharmacist such a thing.",
    ],
)
def test_a_professional_that_is_only_mentioned_is_no_advice(answer: str) -> None:
    assert not sends_to_professional(answer)


def test_many_chosen_answers_of_the_demo_are_advice_and_hardly_any_rejected_one() -> None:
    lines = (files("sweeps.demo") / "pharmacy.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    chosen, rejected = (
        sum(sends_to_professional(row[side][-1]["content"]) for row in rows) / len(rows)
        for side in ("chosen", "rejected")
    )
    assert chosen > 0.4
    assert rejected < 0.1


def test_recorded_answers_of_a_trial_send_more_and_more_people() -> None:
    counts = [count_advice(answers_at(step)) for step in (None, 10, 20, 30)]
    assert counts == sorted(counts)
    assert counts[0] < 20 < 28 < counts[1]
