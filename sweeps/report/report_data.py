"""Everything that a report shows, read from the run directory of a sweep, ended or not.

The ledger decides about every trial that has a record in it. A trial without a record is described
by the outcomes that it has stored so far.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

from dpo_core.evaluation.outcomes import Outcomes
from sweeps.config.schema import SweepConfig
from sweeps.report.file_types import (
    AuditJson,
    DrawnTrialJson,
    Labels,
    NodeJson,
    PairJson,
    PreparedJson,
)
from sweeps.run_dir import json_files, ledger
from sweeps.run_dir.answers import read_answers
from sweeps.run_dir.config_file import read_changes, read_config
from sweeps.run_dir.json_files import DamagedFile
from sweeps.run_dir.json_types import (
    AnswersJson,
    ConfigChangeJson,
    Point,
    SelectionJson,
    TrendRow,
    TrialJson,
)
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord, evaluation_record, searched
from sweeps.run_dir.outcome_files import read_outcomes_of, stored_evaluations
from sweeps.run_dir.paths import CheckpointKey, SweepPaths
from sweeps.run_dir.prepared import read_labels, read_split
from sweeps.search.pending_trials import read_point, trials_with_files
from sweeps.selection.candidates import CandidateRules
from sweeps.selection.eligibility import GUARDRAILS
from sweeps.selection.leaderboard import judged_again, trial_rows
from sweeps.selection.ordering import best_checkpoint
from sweeps.selection.statistics import Groups
from sweeps.selection.verdict import role_of_choice

log = logging.getLogger("dpo_sweeps")

_MOST_WORST_PAIRS = 3
OPEN = "open"
"""Status of a trial whose point was drawn and that has no record in the ledger yet."""


@dataclass(frozen=True)
class ReportData:
    """Everything that the sections of a report show.

    `selection`, `prepared`, `audit` and `answers` hold what their files hold, and are empty where
    the file does not exist. The highlighted checkpoint is the one that the report shows in detail.
    """

    folder: str
    """URI of the run directory."""
    sweep_id: str
    config: SweepConfig
    config_text: str
    ended_trials: Sequence[TrialRecord]
    open_trials: Sequence[TrialRecord]
    """Trials that were drawn and have not ended, with their evaluations so far."""
    prepared: PreparedJson
    selection: SelectionJson
    audit: AuditJson
    outcomes: Mapping[str, Outcomes]
    """Outcomes of the highlighted checkpoint by split, as far as they are stored."""
    nodes: Sequence[NodeJson]
    answers: AnswersJson
    nights: Sequence[TrendRow]
    """Nights of a nightly sweep, the oldest first."""
    labels: Labels
    """`source` and `category` of each pair of the reported split."""
    group_of_pair: Mapping[str, str]
    """Group of each pair of the reported split by the pair's id."""
    config_changes: Sequence[ConfigChangeJson]
    """The keys that changed when the sweep went on, the oldest change first."""
    worst_pairs: Sequence[tuple[PairJson, float]]
    """Pairs of `select` that the highlighted checkpoint ranks most wrongly, with their margins. Pairs
    of `final` are never shown, so that nobody tunes on them."""

    @property
    def objective(self) -> str:
        """Return the name of the accuracy that the sweep maximizes."""
        return self.config.selection.objective

    @property
    def margin_unit(self) -> str:
        """Return the unit of margins under the objective."""
        return "nats per token" if self.objective == "token_reward_accuracy" else "nats"

    @property
    def running(self) -> bool:
        """Return whether the sweep has no selection yet."""
        return not self.selection

    @cached_property
    def records(self) -> list[TrialRecord]:
        """Return the records of all trials, those that have ended first.

        Once there is a choice, its settings say which checkpoints could win; they need not be those
        by which the ledger judged them.
        """
        violations = {
            (c["trial"], c["step"]): {
                **c.get("violations", {}),
                GUARDRAILS: 0.0 if c["admissible"] else 1.0,
            }
            for c in self.selection.get("candidates") or []
        }
        return judged_again([*self.ended_trials, *self.open_trials], violations)

    @cached_property
    def evaluations(self) -> list[tuple[TrialRecord, EvaluationRecord]]:
        """Return every evaluation of every trial, each with its trial."""
        return [(record, each) for record in self.records for each in record.evaluations]

    @cached_property
    def leaderboard(self) -> list[TrialJson]:
        """Return the trials of the search, best first, without those that confirm its points."""
        return trial_rows(searched(self.records), self.objective)

    @cached_property
    def evaluated_trials(self) -> list[EvaluatedTrial]:
        """Return the trials of the leaderboard that were evaluated, best first."""
        return [
            EvaluatedTrial(
                row["trial"], row["point"], row["accuracy"], row["counts"], self.bounds_of(row)
            )
            for row in self.leaderboard
            if row["accuracy"] is not None and row["counts"] is not None
        ]

    def bounds_of(self, row: TrialJson) -> tuple[float, float] | None:
        """Return the 95 % interval of the accuracy of a trial's best checkpoint, in [0, 1].

        None until the candidates are in selection.json: counts alone do not tell which pairs go
        together, and an interval as if none did would be too narrow.
        """
        for candidate in self.selection.get("candidates") or []:
            is_best = (candidate["trial"], candidate["step"]) == (row["trial"], row["step"])
            if is_best and "interval" in candidate:
                low, high = candidate["interval"]
                return low, high
        return None

    @cached_property
    def highlighted_trials(self) -> frozenset[str]:
        """Return the highlighted checkpoint's trial, and the trial of the search that it confirms."""
        if self.highlighted is None:
            return frozenset()
        trial = self.highlighted[0]
        confirmed = next((r.confirms for r in self.records if r.trial == trial), None)
        return frozenset({trial, confirmed or trial})

    @cached_property
    def highlighted(self) -> CheckpointKey | None:
        """Return the winner; without one the most accurate checkpoint, if there is any."""
        return highlighted_checkpoint(self.selection, self.records, self.objective)

    @property
    def highlighted_label(self) -> str:
        """Return what the report calls the highlighted checkpoint."""
        if self.selection.get("winner"):
            return role_of_choice((self.selection.get("verdict") or {}).get("word"))
        return "best so far" if self.running else "most accurate, not selected"

    def groups_of(self, outcomes: Outcomes) -> Groups | None:
        """Return the prompt groups of the reported split, in the order of ids; None if one is lost."""
        ids = sorted(map(str, outcomes.ids))
        if not all(pair in self.group_of_pair for pair in ids):
            return None
        return Groups.of([self.group_of_pair[pair] for pair in ids])

    @property
    def reported_split(self) -> str | None:
        """Return the split whose pairs are reported: `final` once it was scored, else `select`."""
        return next((split for split in ("final", "select") if split in self.outcomes), None)


@dataclass(frozen=True)
class EvaluatedTrial:
    """A trial of the search with the accuracy of its best checkpoint, in [0, 1]."""

    name: str
    point: Point
    accuracy: float
    counts: Mapping[str, int]
    bounds: tuple[float, float] | None
    """The 95 % interval of the accuracy."""


def read_report_data(paths: SweepPaths) -> ReportData:
    """Read a run directory. Raises UserError when there is no sweep, or its ledger is damaged."""
    config = read_config(paths)
    ended_trials = ledger.read(paths.store, paths.ledger)
    read_prepared = json_files.PREPARED.required if ended_trials else json_files.PREPARED.optional
    prepared = cast("PreparedJson", read_prepared(paths.store, paths.prepared) or {})
    ended_names = {record.trial for record in ended_trials}
    open_trials = _open_trials(paths, config, ended_names) if prepared else []
    selection = cast(
        "SelectionJson", json_files.SELECTION.optional(paths.store, paths.selection) or {}
    )
    _refuse_lost_records(paths, selection, ended_names)
    objective = config.selection.objective
    highlighted = highlighted_checkpoint(selection, [*ended_trials, *open_trials], objective)
    outcomes = _outcomes(paths, highlighted, selection) if highlighted else {}
    reported = "final" if "final" in outcomes else "select"
    return ReportData(
        folder=paths.store.uri,
        sweep_id=paths.sweep_id,
        config=config,
        config_text=paths.store.read(paths.config).decode(),
        ended_trials=ended_trials,
        open_trials=open_trials,
        prepared=prepared,
        selection=selection,
        audit=_audit(paths) if prepared else {},
        outcomes=outcomes,
        nodes=[
            json_files.NODE.required(paths.store, f"{paths.nodes}/{name}")
            for name in paths.store.names(paths.nodes)
        ],
        answers=read_answers(paths),
        nights=json_files.TREND.optional(paths.store, paths.trend) or [],
        labels=read_labels(paths, reported) if outcomes else {},
        group_of_pair=_groups(paths, reported) if outcomes else {},
        config_changes=read_changes(paths),
        worst_pairs=_worst_pairs(paths, outcomes.get("select"), objective),
    )


def _refuse_lost_records(paths: SweepPaths, selection: SelectionJson, ended: set[str]) -> None:
    """Raise DamagedFile where the ledger lacks trials that selection.json has."""
    lost = {row["trial"] for row in selection.get("trials") or ()} - ended
    if lost:
        raise DamagedFile(
            f"{paths.store.uri}/{paths.ledger}: lacks {len(lost)} trials that {paths.selection} has; "
            f"restore it from a copy, or `dpo-sweeps resume {paths.store.uri}` records them again"
        )


def _audit(paths: SweepPaths) -> AuditJson:
    audit = json_files.AUDIT.optional(paths.store, paths.audit)
    if audit is None:
        log.warning(f"{paths.store.uri}/{paths.audit}: is missing; the report leaves the audit out")
    return cast("AuditJson", audit or {})


def highlighted_checkpoint(
    selection: SelectionJson, records: Sequence[TrialRecord], objective: str
) -> CheckpointKey | None:
    """Return the checkpoint that the report shows in detail.

    Args:
        selection: selection.json, empty before the sweep has ended.
        records: All trials, ended or not.
        objective: Name of the accuracy by which checkpoints are compared.

    Returns:
        (trial, step) of the winner, or, without a winner, of the most accurate checkpoint of the
        search; None where nothing was evaluated.
    """
    chosen = selection.get("winner")
    if chosen:
        return chosen["trial"], chosen["step"]
    best = best_checkpoint(searched(records), objective)
    return (best.trial, best.step) if best else None


def _groups(paths: SweepPaths, split: str) -> dict[str, str]:
    return {str(row["id"]): row["group"] for row in read_split(paths, split)}


def _open_trials(paths: SweepPaths, config: SweepConfig, ended: set[str]) -> list[TrialRecord]:
    drawn_names = {name.removesuffix(".json") for name in paths.store.names(paths.trials)}
    names = sorted(drawn_names | trials_with_files(paths))
    # Where a point is lost, and no checkpoint tells it, resuming the sweep forgets the trial too.
    rows = ((name, read_point(paths, name)) for name in names if name not in ended)
    drawn = [
        cast("DrawnTrialJson", {**row, "trial": name}) for name, row in rows if row is not None
    ]
    if not drawn:
        return []
    labels, rules = read_labels(paths, "select"), CandidateRules.read(paths, config.selection)
    return [_open_trial(paths, row, config.seed, labels, rules) for row in drawn]


def _open_trial(
    paths: SweepPaths, row: DrawnTrialJson, seed: int, labels: Labels, rules: CandidateRules
) -> TrialRecord:
    """Return a record of an open trial with the evaluations that it has stored."""
    trial = row["trial"]
    return TrialRecord(
        trial=trial,
        point=row["point"],
        status=OPEN,
        seed=row.get("seed", seed),
        evaluations=tuple(
            evaluation_record(metadata, outcomes, labels, rules.all_violations(outcomes))
            for metadata, outcomes in stored_evaluations(paths, trial)
        ),
        confirms=paths.confirms(trial),
    )


def _outcomes(
    paths: SweepPaths, checkpoint: CheckpointKey, selection: SelectionJson
) -> dict[str, Outcomes]:
    """Return the stored outcomes by split, `final` for a winner alone.

    Before there is a winner, nobody may look at the final split.
    """
    trial, step = checkpoint
    names = {"select": paths.outcome(trial, step)}
    if selection.get("winner"):
        names["final"] = paths.final_outcome(trial, step)
    return {split: read_outcomes_of(paths, name) for split, name in names.items()}


def _worst_pairs(
    paths: SweepPaths, outcomes: Outcomes | None, objective: str
) -> list[tuple[PairJson, float]]:
    """Return the pairs with the most negative margins, worst first; parse no other pair's row."""
    if outcomes is None:
        return []
    margins = outcomes.margins(objective)
    worst = [int(i) for i in np.argsort(margins)[:_MOST_WORST_PAIRS] if margins[i] < 0]
    margin_of = {outcomes.ids[i]: float(margins[i]) for i in worst}
    rows = cast("list[PairJson]", read_split(paths, "select", margin_of) if margin_of else [])
    pairs = [(row, margin_of[row["id"]]) for row in rows]
    return sorted(pairs, key=lambda pair: pair[1])
