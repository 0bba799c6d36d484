"""Which candidates are asked for generated answers, and what their answers change."""

from __future__ import annotations

import numpy as np

from sweeps.config.selection import GuardrailSettings
from sweeps.finalize.finalize import choose_with_answers
from sweeps.run_dir.answers import name_of
from sweeps.selection.guardrails import Check, check_guardrails
from sweeps.selection.rule import Candidate
from sweeps.selection.statistics import Groups

PAIRS = 100
GROUPS = Groups(np.arange(PAIRS, dtype=np.int64) // 2)


def candidate(trial: str, right: int, drift: float, step: int = 10, **changes) -> Candidate:
    """Return a candidate that is right on the first `right` of 100 pairs."""
    scores = (np.arange(PAIRS) < right).astype(np.float64)
    changes = {"checks": check_guardrails({}, GuardrailSettings()), **changes}
    return Candidate(trial, step, 0, {}, scores, drift, **changes)


def answering(*long_winded: str):
    """Return what asks candidates, of which the named trials answer at twice the length, and a log."""
    asked = []

    def ask(candidate: Candidate):
        asked.append(candidate.trial)
        own = [list(range(20 if candidate.trial in long_winded else 10))]
        by = {"reference": [list(range(10))], name_of(candidate.checkpoint): own}
        return {"by": {whom: [{"tokens": t} for t in tokens] for whom, tokens in by.items()}}

    return ask, asked


def chosen(everyone, ask, **guardrails):
    candidates, choice = choose_with_answers(everyone, GROUPS, GuardrailSettings(**guardrails), ask)
    return {c.checkpoint: c for c in candidates}, choice.winner and choice.winner.trial


FOUR = [candidate(f"t{i:04d}", 90 - 10 * i, 0.1 + i) for i in range(4)]


def test_only_those_who_would_win_are_asked() -> None:
    ask, asked = answering()
    candidates, winner = chosen(FOUR, ask)
    assert (winner, asked) == ("t0000", ["t0000"])
    assert candidates["t0000", 10].checks["length_growth"] == Check(1.0, 1.5, True, "exclude")
    assert len(candidates) == 4


def test_longer_answers_exclude_and_the_next_is_asked() -> None:
    ask, asked = answering("t0000", "t0001")
    candidates, winner = chosen(FOUR, ask)
    assert (winner, asked) == ("t0002", ["t0000", "t0001", "t0002"])
    assert candidates["t0000", 10].checks["length_growth"] == Check(2.0, 1.5, False, "exclude")
    assert not candidates["t0000", 10].admissible


def test_longer_answers_warn_if_the_config_says_so() -> None:
    ask, asked = answering("t0000")
    assert chosen(FOUR, ask, length_growth={"action": "warn"})[1] == "t0000"
    assert asked == ["t0000"]


def test_when_all_answers_are_too_long_nobody_wins() -> None:
    ask, asked = answering(*(c.trial for c in FOUR))
    candidates, winner = chosen(FOUR, ask)
    assert winner is None
    assert len(asked) == 4
    assert not any(c.admissible for c in candidates.values())


def test_without_answers_the_checks_stay_as_they_are() -> None:
    assert chosen(FOUR, lambda _: {"by": {}})[1] == "t0000"


def test_a_candidate_without_its_checkpoint_is_passed_over() -> None:
    ask, _ = answering()
    candidates, winner = chosen(FOUR, lambda c: None if c.trial == "t0000" else ask(c))
    assert winner == "t0001"
    assert candidates["t0000", 10].admissible
