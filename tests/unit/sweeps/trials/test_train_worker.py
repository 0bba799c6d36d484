"""When a worker checks its untouched policy. All else is tested in tests/integration/test_sweep.py."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.errors import ReferenceMismatch
from sweeps.trials.train_worker import TrialWorker


class Worker(TrialWorker):
    """A worker without a model, which writes down what it does."""

    def __init__(self, mismatch_at: int | None = None) -> None:
        self.trained, self.done, self.mismatch_at = 0, [], mismatch_at

    def _train(self, job: Any, report: Any, keep_going: Any) -> None:
        self.done.append(job)

    def _check_untouched_policy(self) -> None:
        self.done.append("check")
        if self.done.count("check") == self.mismatch_at:
            raise ReferenceMismatch("another model")


def train(worker: Worker, trials: int) -> list[Any]:
    for number in range(trials):
        worker.train(number, report=None)  # type: ignore[arg-type]
    return worker.done


def test_the_untouched_policy_is_checked_first_and_after_every_16th_trial() -> None:
    done = train(Worker(), 33)
    assert [i for i, each in enumerate(done) if each == "check"] == [0, 17, 34]
    assert [each for each in done if each != "check"] == list(range(33))


@pytest.mark.parametrize(("mismatch_at", "trained"), [(1, 0), (2, 16)])
def test_no_trial_is_trained_after_a_mismatch(mismatch_at: int, trained: int) -> None:
    worker = Worker(mismatch_at)
    with pytest.raises(ReferenceMismatch):
        train(worker, 40)
    assert worker.done.count("check") == mismatch_at
    assert len(worker.done) == mismatch_at + trained
