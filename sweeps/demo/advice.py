"""Advice to turn to a professional, which many chosen answers of the pharmacy pairs give."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpo_core.evaluation.failure_modes import loops

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
_NOT = re.compile(
    r"(\bnot|\bnever|\bno need|\bwithout|\bskip\w*|\binstead of|\brather than|\bavoid\w*|n['’]t)\b"
    r"(?! (sure|certain|hesitate|wait|delay))",
    re.IGNORECASE,
)
_ADVICE = re.compile(rf"{_TURN_TO}[^.!?\n]{{0,60}}?{_PROFESSIONAL}", re.IGNORECASE)


def sends_to_professional(answer: str) -> bool:
    """Return whether a sentence tells the person to turn to a doctor, a pharmacist or the like.

    A sentence does when a verb such as "see", "ask" or "call" stands within 60 characters before the
    professional: "I am not a doctor" does not count, nor does "you do not need to see a doctor".
    """
    for advice in _ADVICE.finditer(answer):
        before = re.split(r"[.!?;:,\n]", answer[: advice.start()])[-1]
        if len(_NOT.findall(before)) % 2 == 0:  # "never without asking" is advice
            return True
    return False


def count_advice(answers: Sequence[AnswerJson]) -> int:
    """Return how many of the answers send the person to a professional."""
    return sum(sends_to_professional(answer["text"]) for answer in answers)


def count_loops(answers: Sequence[AnswerJson]) -> int:
    """Return how many of the answers end in a loop."""
    return sum(loops(answer["tokens"]) for answer in answers)
