"""The leaderboard, whatever the order of the ledger; the winner comes first and is marked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dpo_core.evaluation.outcomes import OBJECTIVES
from sweeps.selection.leaderboard import trial_rows, winner_first, winner_label
from sweeps.selection.ordering import best_checkpoint
from tests.support.records import REWARD, evaluation, trial

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
    assert winner_label("t0001", 8, "winner") == "winner, step 8"
    assert winner_label("t0001-s2", 8, "choice") == "choice as t0001-s2, step 8"


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
