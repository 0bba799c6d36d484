"""Asynchronous successive halving that remembers what trials showed before the sweep was resumed.

ASHA compares a trial with all that reached the same rung before it (Li et al. 2020). Tune's scheduler
lives as long as its process; the ledger and the stored outcomes live longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ray.tune.schedulers import ASHAScheduler

from sweeps.run_dir.ledger import TrialRecord
from sweeps.search.searcher import TIME, Result
from sweeps.selection.ordering import (
    EARLY_STOPPING_SCORE,
    best_evaluation,
    early_stopping_score,
)

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


class ResumableASHA(ASHAScheduler):  # type: ignore[misc]
    """Tune's ASHA with the rungs of an earlier run of the same sweep."""

    def __init__(
        self,
        steps: int,
        grace: int,
        objective: str,
        ended: Iterable[TrialRecord],
        unfinished: Iterable[TrialRecord],
    ) -> None:
        """Fill the rungs.

        Args:
            steps: Optimizer steps of a whole trial.
            grace: Steps before which no trial is stopped.
            objective: The accuracy that decides.
            ended: Trials of the search that have ended.
            unfinished: Trials that go on, with what they have stored so far.
        """
        # Tune's own iteration count restarts with a trial's driver; optimizer steps do not.
        super().__init__(
            time_attr=TIME,
            metric=EARLY_STOPPING_SCORE,
            mode="max",
            max_t=steps,
            grace_period=grace,
            reduction_factor=2,
        )
        self._stored = {r.trial: list(_reports(r, objective)) for r in (*ended, *unfinished)}
        for record in ended:
            self._replay(record.trial)

    def on_trial_add(self, tune_controller: TuneController | None, trial: Trial) -> None:
        """Take in a trial, with what it reported before the sweep was resumed.

        Args:
            tune_controller: Tune's.
            trial: A trial whose configuration is a `DrawnPoint`.
        """
        super().on_trial_add(tune_controller, trial)
        for report in self._stored.get(trial.config["trial"], ()):
            self.on_trial_result(tune_controller, trial, report)

    def _replay(self, name: str) -> None:
        """Do what Tune did with a trial that has ended."""
        trial = SimpleNamespace(trial_id=name, config={"trial": name})
        self.on_trial_add(None, trial)
        if self._stored[name]:
            self.on_trial_complete(None, trial, self._stored[name][-1])


def _reports(record: TrialRecord, objective: str) -> Iterator[Result]:
    """Yield what a worker reported at each evaluation, as far as ASHA reads it."""
    for count, evaluation in enumerate(record.evaluations, 1):
        so_far = replace(record, evaluations=record.evaluations[:count])
        best = best_evaluation(so_far, objective)
        assert best is not None
        score = early_stopping_score(best.accuracy(objective), best.can_win)
        yield {TIME: evaluation.step, EARLY_STOPPING_SCORE: score}
