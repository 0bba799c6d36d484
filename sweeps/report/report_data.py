"""All that a report knows, read from a sweep's folder: ended or not, whole or not.

The ledger is the truth; a trial without a record is told from the outcomes that it has stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dpo_core.evaluation.outcomes import Outcomes, read_outcomes
from sweeps.config.schema import SweepConfig
from sweeps.run_dir import ledger
from sweeps.run_dir.answers import read_answers
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.ledger import TrialRecord, evaluation_record, searched
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import read_labels
from sweeps.selection.leaderboard import Candidate, candidates, trial_rows, winner

_MOST_MISTAKES = 3
OPEN = "open"
"""Status of a trial that was drawn and has no record yet."""
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """`selection`, `prepared`, `audit` and `answers` are what their files hold, empty without one."""

    folder: str
    sweep_id: str
    config: SweepConfig
    config_text: str
    ended: Sequence[TrialRecord]
    open: Sequence[TrialRecord]
    """Drawn and not ended, with what has been evaluated so far."""
    prepared: Json
    selection: Json
    audit: Json
    outcomes: Mapping[str, Outcomes]
    """Of the subject, by split, where they are stored."""
    nodes: Sequence[Json]
    """What the nodes that trained are made of."""
    answers: Json
    nights: Sequence[Json]
    labels: Mapping[str, Mapping[str, str | None]]
    """Source and category of each pair of the judged split."""
    mistakes: Sequence[tuple[Json, float]]
    """Pairs of select that the subject ranks most wrongly, with their margins. Final stays shut."""

    @property
    def objective(self) -> str:
        return self.config.selection.objective

    @property
    def running(self) -> bool:
        return not self.selection

    @cached_property
    def records(self) -> list[TrialRecord]:
        return [*self.ended, *self.open]

    @cached_property
    def candidates(self) -> list[Candidate]:
        return candidates(self.records)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The leaderboard of the search, best first, without trials that confirm its points."""
        return trial_rows(searched(self.records), self.objective)

    @cached_property
    def subject_trials(self) -> frozenset[str]:
        """The subject's trial, and the one of the search whose point it trained again, if it did."""
        if self.subject is None:
            return frozenset()
        of = next((r.confirms for r in self.records if r.trial == self.subject[0]), None)
        return frozenset({self.subject[0], of or self.subject[0]})

    @cached_property
    def subject(self) -> tuple[str, int] | None:
        """(trial, step) of the winner; of the most accurate one where there is none."""
        return subject_of(self.selection, self.records, self.objective)

    @property
    def subject_name(self) -> str:
        if self.selection.get("winner"):
            return "winner"
        return "best so far" if self.running else "most accurate, not chosen"

    @property
    def judged_split(self) -> str | None:
        """The split whose pairs say most about the subject: final, once it was opened."""
        return next((split for split in ("final", "select") if split in self.outcomes), None)


def read_evidence(paths: SweepPaths) -> Evidence:
    """Raises UserError when there is no sweep, or its ledger is damaged."""
    config = read_config(paths)
    ended = ledger.read(paths.store, paths.ledger)
    prepared = _json(paths, paths.prepared)
    open_ = _open_trials(paths, config, {record.trial for record in ended}) if prepared else []
    selection = _json(paths, paths.selection)
    subject = subject_of(selection, [*ended, *open_], config.selection.objective)
    outcomes = _outcomes(paths, subject, selection) if subject else {}
    return Evidence(
        folder=paths.store.uri,
        sweep_id=paths.sweep_id,
        config=config,
        config_text=paths.store.read(paths.config).decode(),
        ended=ended,
        open=open_,
        prepared=prepared,
        selection=selection,
        audit=_json(paths, paths.audit),
        outcomes=outcomes,
        nodes=[_json(paths, f"{paths.nodes}/{name}") for name in paths.store.names(paths.nodes)],
        answers=read_answers(paths),
        nights=_json(paths, paths.trend) or [],
        labels=read_labels(paths, "final" if "final" in outcomes else "select") if outcomes else {},
        mistakes=_mistakes(paths, outcomes.get("select"), config.selection.objective),
    )


def subject_of(
    selection: Json, records: Sequence[TrialRecord], objective: str
) -> tuple[str, int] | None:
    chosen = selection.get("winner")
    if chosen:
        return chosen["trial"], chosen["step"]
    best = winner(searched(records), objective)
    return (best.trial, best.step) if best else None


def _open_trials(paths: SweepPaths, config: SweepConfig, ended: set[str]) -> list[TrialRecord]:
    names = [name.removesuffix(".json") for name in paths.store.names(paths.trials)]
    drawn = [json.loads(paths.store.read(paths.point(name))) for name in names if name not in ended]
    labels = read_labels(paths, "select") if drawn else {}
    return [_so_far(paths, row, config.seed, labels) for row in drawn]


def _so_far(
    paths: SweepPaths, row: Json, seed: int, labels: Mapping[str, Mapping[str, str | None]]
) -> TrialRecord:
    """What an open trial has left up to now."""
    trial = row["trial"]
    found = [read_outcomes(paths.store.read(name)) for _, name in paths.evaluations_of(trial)]
    return TrialRecord(
        trial=trial,
        point=row["point"],
        status=OPEN,
        seed=row.get("seed", seed),
        evaluations=tuple(evaluation_record(about, of, labels) for of, about in found),
        confirms=paths.confirms(trial),
    )


def _outcomes(paths: SweepPaths, subject: tuple[str, int], selection: Json) -> dict[str, Outcomes]:
    """`final` of a winner alone: nobody may look at it before there is one."""
    trial, step = subject
    names = {"select": paths.outcome(trial, step)}
    if selection.get("winner"):
        names["final"] = paths.final_outcome(trial, step)
    return {
        split: read_outcomes(paths.store.read(name))[0]
        for split, name in names.items()
        if paths.store.exists(name)
    }


def _mistakes(
    paths: SweepPaths, outcomes: Outcomes | None, objective: str
) -> list[tuple[Json, float]]:
    """Reads the rows of the few pairs that are told, not those of all."""
    if outcomes is None:
        return []
    margins = outcomes.margins(objective)
    worst = [int(i) for i in np.argsort(margins)[:_MOST_MISTAKES] if margins[i] < 0]
    wanted = {outcomes.ids[i]: float(margins[i]) for i in worst}
    names = [json.dumps(each).encode() for each in wanted]
    lines = paths.store.read(paths.split("select")).splitlines()
    rows = [json.loads(line) for line in lines if any(name in line for name in names)]
    found = [(row, wanted[row["id"]]) for row in rows if row["id"] in wanted]
    return sorted(found, key=lambda each: each[1])


def _json(paths: SweepPaths, name: str) -> Any:
    return json.loads(paths.store.read(name)) if paths.store.exists(name) else {}
