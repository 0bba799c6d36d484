"""Retention: which checkpoints of a running sweep stay on disk.

Tested in tests/unit/sweeps/trials/test_ledger_callback.py and tests/integration/test_sweep.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeps.config.schema import SweepConfig
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord, searched
from sweeps.run_dir.paths import CheckpointKey, SweepPaths
from sweeps.search.pending_trials import read_point
from sweeps.selection.candidates import CandidateReader
from sweeps.selection.confirmation import confirmed
from sweeps.selection.rule import Candidate, can_still_win


class CheckpointRetention:
    """Retention of checkpoints that can still win, or from which a trial can still go on."""

    def __init__(
        self, config: SweepConfig, paths: SweepPaths, finalists: Sequence[Candidate] = ()
    ) -> None:
        """Prepare to delete checkpoints.

        Args:
            config: How many spare checkpoints stay, and what a winner is.
            paths: The sweep.
            finalists: Points of the search that are trained again with new seeds.
        """
        self.config, self.paths, self.finalists = config, paths, finalists
        self.reader = CandidateReader(paths, config.selection)

    def delete_others(self, records: Sequence[TrialRecord]) -> None:
        """Delete every other checkpoint. `records` are those of the trials that have ended."""
        trained = self.paths.store.names(self.paths.checkpoints)
        ended = {record.trial for record in records}
        unended = [trial for trial in trained if trial not in ended]
        keep = self._can_win([*records, *filter(None, map(self._record_so_far, unended))])
        for trial in trained:
            steps = self.paths.checkpoint_steps(trial)
            if trial in unended:
                # The newest may lack its outcomes yet, or be damaged: then the one before it serves.
                keep |= {(trial, step) for step in steps[-2:]}
            elif not any((trial, step) in keep for step in steps):
                self.paths.store.delete(f"{self.paths.checkpoints}/{trial}")
                continue
            for step in steps:
                if (trial, step) not in keep:
                    self.paths.store.delete(self.paths.checkpoint(trial, step))

    def _can_win(self, records: Sequence[TrialRecord]) -> set[CheckpointKey]:
        """Return what the search may choose, and the best seed of each confirmed point."""
        spares = self.config.selection.keep_checkpoints
        pool = self.reader.candidates(searched(records))
        points = confirmed(self.finalists, self.reader.candidates(records), records)
        confirmed_best = {point.best.checkpoint for point in points if point.best}
        return confirmed_best | can_still_win(pool, self.reader.groups, spares)

    def _record_so_far(self, trial: str) -> TrialRecord | None:
        """Build a record of a trial that has not ended. Of its evaluations the steps are enough:
        the outcomes of candidates are read from their files."""
        recorded = read_point(self.paths, trial)
        if recorded is None:
            return None
        return TrialRecord(
            trial,
            recorded["point"],
            "running",
            recorded.get("seed", self.config.seed),
            tuple(
                EvaluationRecord(step, math.nan, {}, {}, {})
                for step, _ in self.paths.evaluations_of(trial)
            ),
            confirms=self.paths.confirms(trial),
        )
