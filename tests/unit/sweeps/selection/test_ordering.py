"""The order of evaluated checkpoints: by hand, as a total order, and the same everywhere."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from search_spaces import load_preset
from sweeps.run_dir.ledger import EvaluationRecord
from sweeps.search.study import frozen_trial
from sweeps.selection.leaderboard import trial_rows
from sweeps.selection.ordering import (
    ScoredCheckpoint,
    best_accuracy,
    best_checkpoint,
    best_evaluation,
    best_of,
    best_so_far,
    preference_key,
    rank_key,
    ranked,
)
from tests.support.records import LIKELIHOOD, REWARD, TOKEN, evaluation, trial

# Best first; each differs from the next in one number only.
BY_HAND = [
    ScoredCheckpoint("t0003", 8, 0.7, -0.5, 0.5),
    ScoredCheckpoint("t0003", 8, 0.6, 0.1, 0.5),
    ScoredCheckpoint("t0001", 4, 0.6, -0.2, 0.5),
    ScoredCheckpoint("t0000", 8, 0.6, -0.2, 0.5),
    ScoredCheckpoint("t0002", 8, 0.6, -0.2, 0.5),
    ScoredCheckpoint("t0000", 2, 0.9, 0.3, 0.5, {"moved": 0.1, "accuracy": -0.4}),
]


def test_what_can_win_then_accuracy_then_the_gain_of_chosen_answers_then_step_and_name() -> None:
    for order in itertools.permutations(BY_HAND):
        assert ranked(order) == BY_HAND
        assert best_of(order) == BY_HAND[0]
    assert preference_key(BY_HAND[0]) == (0.5, 8, "t0003")
    assert rank_key(BY_HAND[0]) == (False, -0.7, 0.5, 8, "t0003")


def test_nothing_has_no_best() -> None:
    silent = trial("t0000", status="failed", reason="nan")
    assert ranked([]) == []
    assert best_of([]) is None
    assert best_checkpoint([], REWARD) is best_checkpoint([silent], REWARD) is None
    assert best_evaluation(silent, REWARD) is best_accuracy(silent, REWARD) is None


def test_the_best_so_far_changes_for_a_better_one_only() -> None:
    assert best_so_far(None, BY_HAND[1]) is BY_HAND[1]
    assert best_so_far(BY_HAND[1], BY_HAND[0]) is BY_HAND[0]
    assert best_so_far(BY_HAND[1], BY_HAND[2]) is BY_HAND[1]


def test_the_highest_accuracy_is_best_even_before_the_last_step() -> None:
    early = trial("t0000", evaluation(4, 15), evaluation(8, 12))
    later = trial("t0001", evaluation(4, 11), evaluation(8, 14))
    best = ScoredCheckpoint("t0000", 4, 0.75, -0.04, 0.04)
    assert best_checkpoint([later, early], REWARD) == best


def test_two_ties_are_worth_one_correct_pair() -> None:
    tied = trial("t0000", evaluation(4, 10, ties=3))  # (10 + 1.5) / 20 = 0.575
    assert best_trial(tied, trial("t0001", evaluation(4, 11))) == "t0000"  # 11 / 20 = 0.55
    assert best_trial(tied, trial("t0001", evaluation(4, 12))) == "t0001"  # 12 / 20 = 0.6


def test_the_objective_decides() -> None:
    records = trial("t0000", evaluation(4, 15, 5)), trial("t0001", evaluation(4, 5, 9))
    assert best_trial(*records, objective=REWARD) == "t0000"
    assert best_trial(*records, objective=TOKEN) == "t0001"
    assert best_trial(*records, objective=LIKELIHOOD) == "t0001"  # 20 - 5 of 20


def test_a_trial_that_failed_later_can_still_be_the_best() -> None:
    failed = trial("t0000", evaluation(4, 18), status="failed", reason="nan", detail="step 6")
    assert best_trial(failed, trial("t0001", evaluation(4, 12))) == "t0000"


def test_the_best_evaluation_can_win_is_accurate_gained_most_and_is_early() -> None:
    def at(step: int, correct: int, chosen: float, **violations: float) -> EvaluationRecord:
        counts = {REWARD: {"correct": correct, "ties": 0, "total": 10}}
        health = {"drift_chosen": chosen, "drift_rejected": 0.0}
        return EvaluationRecord(step, 0.5, counts, {}, health, violations)

    unmoved, worse, fallen = at(2, 9, 0.0, moved=0.2), at(4, 6, 0.3), at(8, 7, -0.3)
    gained, later = at(12, 7, 0.1, moved=-0.1, accuracy=0.0), at(16, 7, 0.1)
    for order in ([unmoved, worse, fallen, gained, later], [later, gained, fallen, worse, unmoved]):
        assert best_evaluation(trial("t0000", *order), REWARD) is gained
        assert best_accuracy(trial("t0000", *order), REWARD) == 0.7
    assert best_accuracy(trial("t0000", unmoved), REWARD) == 0.9, "what there is to report"


def best_trial(*records, objective: str = REWARD) -> str | None:
    best = best_checkpoint(records, objective)
    return best and best.trial


SPACE = load_preset("lora")
POINT = {"beta": 0.1, "learning_rate": 1e-5, "length_norm": "none"}
few = st.integers(9, 11)  # so that accuracies often tie
evaluations = st.lists(
    st.tuples(few, few, st.integers(0, 2), st.sampled_from([0.0, 0.1, 0.2])),
    min_size=1,
    max_size=4,
)


@given(evaluations)
def test_optuna_and_the_leaderboard_know_the_same_checkpoint(rows) -> None:
    """Of equally accurate ones too, whatever their accuracies by another objective."""
    record = trial(
        "t0000",
        *(
            evaluation(4 * number, correct, token_correct, ties, drift)
            for number, (correct, token_correct, ties, drift) in enumerate(rows, 1)
        ),
    )
    known = frozen_trial(SPACE, replace(record, point=POINT), REWARD, ("accuracy", "drift"))
    [row] = trial_rows([record], REWARD)
    shown = next(each for each in record.evaluations if each.step == row["step"])
    assert known.values == [row["accuracy"], shown.drift]
    best = best_checkpoint([record], REWARD)
    assert best is not None
    assert (row["step"], row["accuracy"]) == (best.step, best.accuracy)


def test_the_order_needs_no_heavy_library() -> None:
    heavy = "torch", "ray", "optuna", "transformers", "scipy"
    code = (
        "import sys, sweeps.selection.ordering; "
        f"sys.exit(repr(sorted(set({heavy}) & set(sys.modules)) or ''))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stderr.strip() in ("", "''"), ran.stderr
