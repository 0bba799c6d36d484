"""Reading of candidates from a run directory: trial records and stored outcomes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from dpo_core.evaluation.failure_modes import drift_and_displacement, largest_drift
from dpo_core.evaluation.outcomes import Outcomes
from sweeps.config.selection import SelectionSettings
from sweeps.run_dir.ledger import FAILED, TrialRecord, searched
from sweeps.run_dir.outcome_files import read_stored_outcomes
from sweeps.run_dir.paths import CheckpointKey, SweepPaths
from sweeps.run_dir.prepared import Prepared, read_split
from sweeps.selection.confirmation import finalists
from sweeps.selection.eligibility import GUARDRAILS, margin_threshold, violations
from sweeps.selection.guardrails import Check, check_outcomes, guardrail_violation
from sweeps.selection.ordering import ScoredCheckpoint
from sweeps.selection.rule import Candidate
from sweeps.selection.split_scores import pair_scores
from sweeps.selection.statistics import Groups

log = logging.getLogger("dpo_sweeps")


@dataclass(frozen=True)
class CandidateRules:
    """The rules that decide from held-out pairs whether a checkpoint can win and how it is ranked."""

    settings: SelectionSettings
    threshold: float
    """τ: the margin in nats beyond which a pair counts as moved; 0 where eligibility is off."""
    groups: Groups
    """Prompt groups of the select split, in the order of the pairs' ids."""

    @classmethod
    def read(cls, paths: SweepPaths, settings: SelectionSettings) -> CandidateRules:
        """Read what the rules depend on beside the settings.

        Args:
            paths: The run directory.
            settings: The settings of the choice.

        Returns:
            The rules.
        """
        threshold = margin_threshold(settings.min_margin, Prepared.read(paths).margin_noise)
        return cls(settings, threshold, read_groups(paths, "select"))

    def checks(self, outcomes: Outcomes) -> dict[str, Check]:
        """Check every guardrail that held-out pairs decide."""
        settings = self.settings
        return check_outcomes(outcomes, settings.objective, self.groups, settings.guardrails)

    def violations(self, outcomes: Outcomes) -> dict[str, float]:
        """Return what keeps a checkpoint from being eligible; see `eligibility.violations`."""
        return violations(outcomes, self.settings.objective, self.threshold)

    def all_violations(self, outcomes: Outcomes) -> dict[str, float]:
        """Return what keeps a checkpoint from winning: also how far it is over a guardrail's limit."""
        over = guardrail_violation(self.checks(outcomes))
        return {**self.violations(outcomes), GUARDRAILS: over}

    def scored(self, trial: str, step: int, outcomes: Outcomes) -> ScoredCheckpoint:
        """Compute the numbers by which a checkpoint is ranked.

        Args:
            trial: Name of the trial.
            step: Optimizer step of the checkpoint.
            outcomes: Outcomes of every pair of the select split.

        Returns:
            The checkpoint.
        """
        health = drift_and_displacement(outcomes)
        return ScoredCheckpoint(
            trial,
            step,
            outcomes.count(self.settings.objective).accuracy,
            health["drift_chosen"],
            largest_drift(health),
            self.all_violations(outcomes),
        )

    def candidate(self, record: TrialRecord, step: int, outcomes: Outcomes) -> Candidate:
        """Describe a checkpoint as a candidate.

        Args:
            record: Its trial.
            step: Optimizer step of the checkpoint.
            outcomes: Outcomes of every pair of the select split.

        Returns:
            The candidate, checked as far as held-out pairs go.
        """
        health = drift_and_displacement(outcomes)
        return Candidate(
            record.trial,
            step,
            record.seed,
            record.point,
            pair_scores(outcomes, self.settings.objective),
            health["drift_chosen"],
            largest_drift(health),
            self.violations(outcomes),
            self.checks(outcomes),
        )


class CandidateReader:
    """Reader of a sweep's candidates, which reads the outcomes of each evaluation once."""

    def __init__(self, paths: SweepPaths, settings: SelectionSettings) -> None:
        self.paths, self.settings = paths, settings
        self._read: dict[CheckpointKey, Candidate | None] = {}

    @cached_property
    def rules(self) -> CandidateRules:
        """Read the rules of the choice."""
        return CandidateRules.read(self.paths, self.settings)

    @property
    def groups(self) -> Groups:
        """Return the prompt groups of the select split, in the order of the candidates' scores."""
        return self.rules.groups

    def candidates(self, records: Iterable[TrialRecord]) -> list[Candidate]:
        """Return every checkpoint of a trial that did not fail, evaluated on the whole select split.

        What was wrong with a failed trial may have been wrong before its last evaluation too.
        """
        candidates = (
            self._candidate(record, evaluation.step)
            for record in records
            if record.status != FAILED
            for evaluation in record.evaluations
        )
        return [candidate for candidate in candidates if candidate is not None]

    def finalists(self, records: Iterable[TrialRecord]) -> list[Candidate]:
        """Return the best candidate of each of the search's best points, to be trained again.

        Where other points were trained again than those that are best now (by another objective, by
        the rule of an earlier version), they are returned: no others have numbers without the luck
        of being chosen. The list is empty when the sweep confirms nothing.
        """
        confirm, records = self.settings.confirm, list(records)
        if not confirm.trials(1):
            return []
        candidates = self.candidates(searched(records))
        best = finalists(candidates, self.groups, confirm.top)
        trained_again = {record.confirms for record in records if record.confirms}
        if not trained_again or any(c.trial in trained_again for c in best):
            return best
        others = [c for c in candidates if c.trial in trained_again]
        return finalists(others, self.groups, confirm.top)

    def _candidate(self, record: TrialRecord, step: int) -> Candidate | None:
        key = (record.trial, step)
        if key not in self._read:
            name = self.paths.outcome(record.trial, step)
            outcomes = read_stored_outcomes(self.paths, name)
            if outcomes is None:
                log.warning(f"{self.paths.store.uri}/{name}: is missing, so it cannot be chosen")
            if outcomes is None or len(outcomes.ids) != len(self.groups.codes):
                self._read[key] = None
            else:
                self._read[key] = self.rules.candidate(record, step, outcomes)
        return self._read[key]


def read_groups(paths: SweepPaths, split: str) -> Groups:
    """Read the prompt group of each pair of a split, in the order of the pairs' ids."""
    rows = read_split(paths, split)
    return Groups.of([row["group"] for row in sorted(rows, key=lambda row: str(row["id"]))])
