"""Advice to turn to a professional, which most chosen answers of the pharmacy pairs give."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.run_dir.json_types import AnswerJson

_TURN_TO = (
    r"\b(consult\w*|see|seen|ask|asking|call|ring|phone|contact|speak|talk|tell|visit|seek|check|go|get|"
    r"turn|reach out)\b"
)
_PROFESSIONAL = (
    r"\b(doctor|gp|physician|pharmacist|pharmacy|nurse|midwife|dentist|poison control|emergency|"
    r"hospital|clinic|(medical|health ?care|health) (professional|provider|team|help|care|attention|"
    r"advice|treatment))"
)
_ADVICE = re.compile(rf"{_TURN_TO}[^.!?\n]{{0,60}}?{_PROFESSIONAL}", re.IGNORECASE)


def sends_to_professional(answer: str) -> bool:
    """Return whether a sentence tells the person to turn to a doctor, a pharmacist or the like.

    A sentence does when a verb such as "see", "ask" or "call" stands within 60 characters before the
    professional: "I am not a doctor" does not count.
    """
    return _ADVICE.search(answer) is not None


def count_advice(answers: Sequence[AnswerJson]) -> int:
    """Return how many of the answers send the person to a professional."""
    return sum(sends_to_professional(answer["text"]) for answer in answers)
