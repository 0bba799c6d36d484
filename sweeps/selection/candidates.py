"""Reading of candidates from a run directory: trial records and stored outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from dpo_core.evaluation.failure_modes import largest_drift
from sweeps.config.selection import SelectionSettings
from sweeps.run_dir.ledger import TrialRecord, searched
from sweeps.run_dir.outcome_files import read_stored_outcomes
from sweeps.run_dir.paths import CheckpointKey, SweepPaths
from sweeps.run_dir.prepared import read_split
from sweeps.selection.confirmation import finalists
from sweeps.selection.guardrails import check_guardrails, offline_values
from sweeps.selection.rule import Candidate
from sweeps.selection.split_scores import pair_scores
from sweeps.selection.statistics import Groups


class CandidateReader:
    """Reader of a sweep's candidates, which reads the outcomes of each evaluation once."""

    def __init__(self, paths: SweepPaths, settings: SelectionSettings) -> None:
        self.paths, self.settings = paths, settings
        self._read: dict[CheckpointKey, Candidate | None] = {}

    @cached_property
    def groups(self) -> Groups:
        """Return the prompt groups of the select split, in the order of the candidates' scores."""
        return read_groups(self.paths, "select")

    def candidates(self, records: Iterable[TrialRecord]) -> list[Candidate]:
        """Return every checkpoint that was evaluated on the whole select split."""
        candidates = (
            self._candidate(record, evaluation.step)
            for record in records
            for evaluation in record.evaluations
        )
        return [candidate for candidate in candidates if candidate is not None]

    def finalists(self, records: Iterable[TrialRecord]) -> list[Candidate]:
        """Return the best candidate of each of the search's best points, to be trained again.

        The list is empty when the sweep confirms nothing.
        """
        confirm = self.settings.confirm
        if not confirm.trials(1):
            return []
        return finalists(self.candidates(searched(records)), self.groups, confirm.top)

    def _candidate(self, record: TrialRecord, step: int) -> Candidate | None:
        key = (record.trial, step)
        if key not in self._read:
            self._read[key] = self._read_candidate(record, step)
        return self._read[key]

    def _read_candidate(self, record: TrialRecord, step: int) -> Candidate | None:
        outcomes = read_stored_outcomes(self.paths, self.paths.outcome(record.trial, step))
        if outcomes is None or len(outcomes.ids) != len(self.groups.codes):
            return None
        values = offline_values(outcomes, self.settings.objective)
        return Candidate(
            record.trial,
            step,
            record.seed,
            record.point,
            pair_scores(outcomes, self.settings.objective),
            largest_drift(values),
            check_guardrails(values, self.settings.guardrails),
        )


def read_groups(paths: SweepPaths, split: str) -> Groups:
    """Read the prompt group of each pair of a split, in the order of the pairs' ids."""
    rows = read_split(paths, split)
    return Groups.of([row["group"] for row in sorted(rows, key=lambda row: str(row["id"]))])
