"""Candidates read from the run directory: trial records and stored outcomes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property

from dpo_core.errors import UserError
from dpo_core.evaluation.failure_modes import largest_drift
from dpo_core.evaluation.outcomes import Outcomes, read_outcomes_if_whole
from sweeps.config.selection import SelectionSettings
from sweeps.run_dir.ledger import TrialRecord, searched
from sweeps.run_dir.paths import CheckpointKey, SweepPaths
from sweeps.selection.confirmation import finalists
from sweeps.selection.guardrails import checks, offline_values
from sweeps.selection.leaderboard import scores_by_id
from sweeps.selection.rule import Candidate
from sweeps.selection.statistics import Groups


class CandidateReader:
    """Reads every evaluation once; numbers of pairs stand in the order of their ids."""

    def __init__(self, paths: SweepPaths, settings: SelectionSettings) -> None:
        self.paths, self.settings = paths, settings
        self._read: dict[CheckpointKey, Candidate | None] = {}

    @cached_property
    def groups(self) -> Groups:
        return groups_of(self.paths, "select")

    def candidates(self, records: Iterable[TrialRecord]) -> list[Candidate]:
        """Every checkpoint that was evaluated on the whole select split."""
        found = (self._of(record, e.step) for record in records for e in record.evaluations)
        return [candidate for candidate in found if candidate is not None]

    def finalists(self, records: Iterable[TrialRecord]) -> list[Candidate]:
        """What the search found best, each point once, to be trained again; empty when that is off."""
        confirm = self.settings.confirm
        if not confirm.trials(1):
            return []
        return finalists(self.candidates(searched(records)), self.groups, confirm.top)

    def _of(self, record: TrialRecord, step: int) -> Candidate | None:
        place = (record.trial, step)
        if place not in self._read:
            self._read[place] = self._read_candidate(record, step)
        return self._read[place]

    def _read_candidate(self, record: TrialRecord, step: int) -> Candidate | None:
        outcomes = outcomes_at(self.paths, self.paths.outcome(record.trial, step))
        if outcomes is None or len(outcomes.ids) != len(self.groups.codes):
            return None
        values = offline_values(outcomes, self.settings.objective)
        return Candidate(
            record.trial,
            step,
            record.seed,
            record.point,
            scores_by_id(outcomes, self.settings.objective),
            largest_drift(values),
            checks(values, self.settings.guardrails),
        )


def outcomes_at(paths: SweepPaths, name: str) -> Outcomes | None:
    """None where there are none. Raises UserError for a damaged file."""
    if not paths.store.exists(name):
        return None
    found = read_outcomes_if_whole(paths.store.read(name))
    if found is None:
        raise UserError(
            f"{paths.store.uri}/{name}: is damaged; restore it from a copy, or delete it, and "
            "`dpo-sweeps resume` chooses among the other checkpoints"
        )
    return found[0]


def groups_of(paths: SweepPaths, split: str) -> Groups:
    """Prompt groups of a split's pairs, in the order of ids."""
    rows = [json.loads(line) for line in paths.store.read(paths.split(split)).splitlines()]
    return Groups.of([row["group"] for row in sorted(rows, key=lambda row: str(row["id"]))])
