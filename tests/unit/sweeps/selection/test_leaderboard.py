"""The leaderboard, whatever the order of the ledger, and the scores of a split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.evaluation.outcomes import OBJECTIVES
from sweeps.selection.leaderboard import scores, trial_rows, winner_first, winner_label
from sweeps.selection.ordering import best_checkpoint
from tests.support.records import LIKELIHOOD, REWARD, TOKEN, evaluation, outcomes, trial

few = st.integers(0, 3)  # so that accuracies often tie
ledgers = st.lists(
    st.builds(
        lambda evaluated, failed: (evaluated, failed),
        st.dictionaries(st.sampled_from([4, 8, 12]), st.tuples(few, few, few), max_size=3),
        st.booleans(),
    ),
    max_size=6,
).map(
    lambda rows: [
        trial(
            f"t{number:04d}",
            *(evaluation(step, c, t, ties) for step, (c, t, ties) in evaluated.items()),
            status="failed" if failed else "finished",
        )
        for number, (evaluated, failed) in enumerate(rows)
    ]
)


@given(ledgers, st.randoms(use_true_random=False), st.sampled_from(OBJECTIVES))
def test_the_order_of_records_and_evaluations_moves_nothing(records, random, objective) -> None:
    shuffled = [
        trial(r.trial, *random.sample(r.evaluations, len(r.evaluations)), status=r.status)
        for r in random.sample(records, len(records))
    ]
    assert trial_rows(shuffled, objective) == trial_rows(records, objective)


@given(ledgers, st.sampled_from(OBJECTIVES))
def test_the_leaderboard_begins_with_the_best_checkpoint(records, objective) -> None:
    rows, best = trial_rows(records, objective), best_checkpoint(records, objective)
    assert len(rows) == len(records)
    accuracies = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    assert accuracies == sorted(accuracies, reverse=True)
    unevaluated = rows[len(accuracies) :]
    assert all(row["accuracy"] is None for row in unevaluated)
    assert [row["trial"] for row in unevaluated] == sorted(row["trial"] for row in unevaluated)
    if best is not None:
        assert (rows[0]["trial"], rows[0]["step"]) == (best.trial, best.step)
        assert max(accuracies) == best.accuracy


def test_equally_accurate_trials_stand_in_the_order_of_checkpoints() -> None:
    far, near = trial("t0000", evaluation(4, 12, 9)), trial("t0001", evaluation(8, 12, 5, drift=0))
    silent = trial("t0002", status="failed", reason="nan")
    for records in ([far, near, silent], [silent, near, far]):
        names = [row["trial"] for row in trial_rows(records, REWARD)]
        assert names == ["t0001", "t0000", "t0002"], "the higher token accuracy does not count"


def test_the_winner_comes_first_and_the_others_keep_their_order() -> None:
    rows = [{"trial": f"t000{number}"} for number in range(4)]
    moved = [rows[2], rows[0], rows[1], rows[3]]
    assert winner_first(rows, "t0002") == moved
    assert winner_first(rows, "t0002-s1") == moved, "a new seed of its point won"
    assert winner_first(rows, None) == rows


def test_the_label_of_the_winner_names_the_trial_with_the_new_seed() -> None:
    assert winner_label("t0001", 8) == "winner, step 8"
    assert winner_label("t0001-s2", 8) == "winner as t0001-s2, step 8"


def test_a_row_of_the_leaderboard() -> None:
    best, last = evaluation(4, 15, ties=1), evaluation(8, 12)
    [row] = trial_rows([trial("t0000", best, last, loss_beta=4.5)], REWARD)
    assert row == {
        "trial": "t0000",
        "status": "finished",
        "reason": None,
        "detail": None,
        "point": {"beta": 0.1},
        "loss_beta": 4.5,
        "step": 4,
        "accuracy": 0.775,  # (15 + 1/2) / 20
        "counts": {"correct": 15, "ties": 1, "total": 20},
        "drift_chosen": -0.04,
        "seconds": 2.5,
    }
    assert best.accuracy(REWARD) == 0.775


def test_a_row_of_a_trial_without_evaluations() -> None:
    [row] = trial_rows([trial("t0000", status="failed", reason="nan", detail="step 1")], REWARD)
    assert (row["status"], row["reason"], row["detail"]) == ("failed", "nan", "step 1")
    assert [row[k] for k in ("step", "accuracy", "counts", "drift_chosen")] == [None] * 4


def test_scores_by_hand() -> None:
    told = scores(outcomes(), REWARD)
    assert (told["objective"], told["correct"], told["ties"], told["total"]) == (REWARD, 3, 1, 5)
    assert told["accuracy"] == told[REWARD] == 0.7  # (3 + 1/2) / 5
    assert told[TOKEN] == 0.4  # 2 of 5
    assert told[LIKELIHOOD] == 0.5  # (2 + 1/2) / 5
    # p = 0.7, n = 5, z² = 3.841459, 1 + z²/n = 1.7682918:
    # centre = (0.7 + 0.3841459) / 1.7682918 = 0.6131035
    # half = 1.959964 / 1.7682918 · √(0.21/5 + 3.841459/100) = 1.1083939 · 0.2835746 = 0.3143125
    assert told["interval"] == pytest.approx([0.2987911, 0.9274160], abs=1e-6)
    length = told["length"]
    assert (length["chosen_longer"]["correct"], length["chosen_longer"]["total"]) == (2, 2)
    assert length["chosen_shorter"]["accuracy"] == 0.25  # a tie and a wrong one
    assert length["length_controlled"] == 0.625  # (1 + 0.25) / 2
    assert length["longer_wins"] == 0.5  # (2 + 1/2) / 5
    assert told["health"] == pytest.approx(
        {
            "drift_chosen": -0.05,  # (2 + 3 − 1 − 1 − 4) / 20 tokens
            "drift_rejected": -0.125,  # (−1 + 2 − 2 − 1 + 0) / 16 tokens
            "displaced": 0.2,  # the third pair: its margin grew, its chosen answer fell
            "mean_margin": 0.2,  # (3 + 1 + 1 + 0 − 4) / 5
        }
    )


def test_scores_of_the_untouched_policy_are_one_half_on_rewards() -> None:
    told = scores(outcomes().as_reference, REWARD)
    assert (told["correct"], told["ties"], told["accuracy"]) == (0, 5, 0.5)
    assert told[TOKEN] == 0.5
    assert told[LIKELIHOOD] == 0.5  # 2, −6, 1, 0, −1: two right, one tie


def test_scores_follow_the_objective() -> None:
    told = scores(outcomes(), LIKELIHOOD)
    assert (told["correct"], told["ties"], told["accuracy"]) == (2, 1, 0.5)
    assert told["length"]["chosen_longer"]["correct"] == 1
