"""The end of a sweep: choose on select, open final once for the choice, say what it showed.

The judgement itself is in `records`: pure functions of what is read here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dpo_core.evaluation import Outcomes, read_outcomes
from sweeps.calls import Call
from sweeps.config import SweepConfig
from sweeps.contenders import Field, groups_of, scores_by_id
from sweeps.export import export_and_score, final_outcomes, write_card
from sweeps.paths import SweepPaths
from sweeps.prepare import read_labels
from sweeps.records.choice import Choice, Contender, choose, ranked, runner_up
from sweeps.records.confirmation import Confirmation, confirmed, electorate
from sweeps.records.ledger import TrialRecord, searched
from sweeps.records.openings import open_final, read_openings
from sweeps.records.paired import Groups, compare, standard_errors
from sweeps.records.selection import scores, trial_rows
from sweeps.records.verdict import REFERENCE, Verdict, judge, nothing_admissible

Say = Callable[[str], None]


def conclude(
    config: SweepConfig, paths: SweepPaths, records: Sequence[TrialRecord], call: Call, say: Say
) -> dict[str, Any]:
    """What selection.json then holds. Raises FinalSpent when final was opened for another choice."""
    field = Field(paths, config.selection)
    contenders = field.contenders(records)
    points = confirmed(field.finalists(records), contenders, records)
    standing = electorate(points, contenders)
    choice = choose(standing, field.groups)
    if choice.winner is not None:
        _open_final(paths, choice.winner, call, say)
    selection = judged(config, paths, records, contenders, points, choice, field.groups)
    if choice.winner is not None:
        write_card(paths, selection)
    paths.store.write(paths.selection, json.dumps(selection, indent=2, allow_nan=False).encode())
    return selection


def judged(
    config: SweepConfig,
    paths: SweepPaths,
    records: Sequence[TrialRecord],
    contenders: Sequence[Contender],
    points: Sequence[Confirmation],
    choice: Choice,
    groups: Groups,
) -> dict[str, Any]:
    """The judgement as selection.json tells it. Needs the winner's final outcomes."""
    objective, guardrails = config.selection.objective, config.selection.guardrails
    standing = electorate(points, contenders)
    told: dict[str, Any] = {
        "sweep": paths.sweep_id,
        "folder": paths.store.uri,
        "base_model": config.model.path,
        "objective": objective,
        "verdict": None,
        "winner": None,
        "incumbent": None,
    }
    if choice.winner is None:
        told["verdict"] = _nothing(standing).as_dict()
    else:
        told |= _of_winner(paths, choice.winner, objective)
    second = runner_up(choice, standing, groups)
    return {
        **told,
        "runner_up": second and _runner_up(paths, second, objective),
        "guardrails": {name: rail.model_dump() for name, rail in guardrails.named.items()},
        "candidates": candidate_rows(contenders, choice, groups),
        "confirmation": [point.row() for point in points],
        "final_opened": [vars(o) for o in read_openings(paths.store, paths.final_opened)],
        "trials": trial_rows(searched(records), objective),
    }


def candidate_rows(
    contenders: Sequence[Contender], choice: Choice, groups: Groups
) -> list[dict[str, Any]]:
    """Every candidate, most accurate first, with what was held against it."""
    shortlisted = {c.place for c in choice.shortlist}
    return [
        {
            "trial": c.trial,
            "step": c.step,
            "seed": c.seed,
            "point": dict(c.point),
            "accuracy": c.accuracy,
            "counts": _counts(c),
            "standard_error": float(standard_errors(c.scores[None], groups)[0]),
            "guardrails": {name: check.as_dict() for name, check in c.checks.items()},
            "admissible": c.admissible,
            "shortlisted": c.place in shortlisted,
        }
        for c in ranked(contenders)
    ]


def _open_final(paths: SweepPaths, winner: Contender, call: Call, say: Say) -> None:
    why = f"{winner.trial} at step {winner.step}"
    when = datetime.now(UTC).isoformat(timespec="seconds")
    open_final(paths.store, paths.final_opened, why, when)
    if final_outcomes(paths, *winner.place) is None or not paths.store.exists(paths.best):
        say(f"exporting {why}, scoring the final split")
        call(export_and_score, paths.storage.uri, paths.sweep_id, winner.trial, winner.step)


def _of_winner(paths: SweepPaths, winner: Contender, objective: str) -> dict[str, Any]:
    outcomes = {
        "select": _read(paths, paths.outcome(winner.trial, winner.step)),
        "final": _read(paths, paths.final_outcome(*winner.place)),
    }
    return {
        "verdict": _verdict(paths, winner, outcomes["final"], objective).as_dict(),
        "winner": {
            "trial": winner.trial,
            "point": dict(winner.point),
            "step": winner.step,
            "seed": winner.seed,
            "path": f"{paths.store.uri}/{paths.best}",
        },
        **{s: scores(o, objective, read_labels(paths, s)) for s, o in outcomes.items()},
        "reference": {s: scores(o.as_reference, objective) for s, o in outcomes.items()},
    }


def _verdict(paths: SweepPaths, winner: Contender, final: Outcomes, objective: str) -> Verdict:
    difference = scores_by_id(final, objective) - scores_by_id(final.as_reference, objective)
    [comparison] = compare(difference[None], groups_of(paths, "final"))
    name = f"{winner.trial} at step {winner.step}"
    return judge(comparison, name, len(difference), REFERENCE)


def _nothing(contenders: Sequence[Contender]) -> Verdict:
    broken: dict[str, int] = {}
    for contender in contenders:
        for name, check in contender.checks.items():
            if check.excludes:
                broken[name] = broken.get(name, 0) + 1
    return nothing_admissible(len(contenders), broken, REFERENCE)


def _runner_up(paths: SweepPaths, second: Contender, objective: str) -> Mapping[str, Any]:
    outcomes = _read(paths, paths.outcome(second.trial, second.step))
    return {
        "trial": second.trial,
        "step": second.step,
        "select": scores(outcomes, objective, read_labels(paths, "select")),
    }


def _counts(contender: Contender) -> dict[str, int]:
    found = contender.scores
    return {
        "correct": int((found == 1).sum()),
        "ties": int((found == 0.5).sum()),
        "total": len(found),
    }


def _read(paths: SweepPaths, name: str) -> Outcomes:
    return read_outcomes(paths.store.read(name))[0]
