"""The judgement over a sweep as selection.json tells it, from its folder and the choice made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dpo_core.evaluation.outcomes import Floats, Outcomes
from sweeps.config.schema import SweepConfig
from sweeps.finalize.export import exported
from sweeps.finalize.final_split import read_openings
from sweeps.finalize.incumbent import Incumbent
from sweeps.run_dir.json_types import ScoresJson
from sweeps.run_dir.ledger import TrialRecord, searched
from sweeps.run_dir.outcome_files import read_outcomes_of
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import read_labels
from sweeps.selection.candidates import read_groups
from sweeps.selection.confirmation import Confirmation
from sweeps.selection.leaderboard import trial_rows
from sweeps.selection.ordering import ranked
from sweeps.selection.pareto import pareto_rows
from sweeps.selection.rule import Candidate, Choice, runner_up
from sweeps.selection.split_scores import pair_scores, split_scores
from sweeps.selection.statistics import Groups, compare, holm, standard_errors
from sweeps.selection.verdict import (
    INCUMBENT,
    REFERENCE,
    Verdict,
    verdict_on_final,
    verdict_without_winner,
)


@dataclass(frozen=True)
class SelectionInputs:
    """What is known at the end of a sweep. `candidates` are all checkpoints that were evaluated,
    `eligible` those that may be chosen: the confirmed points on their means, if there are."""

    records: Sequence[TrialRecord]
    candidates: Sequence[Candidate]
    points: Sequence[Confirmation]
    eligible: Sequence[Candidate]
    choice: Choice
    groups: Groups
    incumbent: Incumbent | None


def selection_json(
    config: SweepConfig, paths: SweepPaths, inputs: SelectionInputs
) -> dict[str, Any]:
    """As long as final is not open for the winner, there is no verdict and no `final`."""
    objective, guardrails = config.selection.objective, config.selection.guardrails
    choice, groups = inputs.choice, inputs.groups
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
        told["verdict"] = _nothing(inputs.eligible, inputs.incumbent).as_dict()
    else:
        told |= _of_winner(paths, choice.winner, objective, inputs.incumbent)
    second = runner_up(choice, inputs.eligible, groups)
    others = _others_on_select(paths, inputs.candidates, objective, inputs.incumbent)
    return {
        **told,
        "runner_up": _runner_up(paths, second, objective) if second else None,
        "guardrails": {name: rail.model_dump() for name, rail in guardrails.named.items()},
        "candidates": candidate_rows(_checked(inputs), choice, groups, others),
        "pareto": pareto_rows(c for c in _checked(inputs) if c.admissible),
        "confirmation": [point.row() for point in inputs.points],
        "final_opened": [vars(o) for o in read_openings(paths.store, paths.final_opened)],
        "trials": trial_rows(searched(inputs.records), objective),
    }


def why_opened(winner: Candidate, objective: str) -> str:
    """What final is opened for: another objective would be another look."""
    return f"{winner.name} by {objective}"


def _checked(inputs: SelectionInputs) -> list[Candidate]:
    """All candidates, with what the answers of the eligible ones have told."""
    checks = {c.checkpoint: c.checks for c in inputs.eligible}
    return [replace(c, checks=checks.get(c.checkpoint, c.checks)) for c in inputs.candidates]


def candidate_rows(
    candidates: Sequence[Candidate],
    choice: Choice,
    groups: Groups,
    others: Mapping[str, Floats],
) -> list[dict[str, Any]]:
    """Every candidate, most accurate first: what was held against it, and its difference from the
    best and from `others` on select, each p-value corrected for the number of candidates."""
    shortlisted, order = {c.checkpoint for c in choice.shortlist}, ranked(candidates)
    if choice.best is not None:
        others = {"best": choice.best.scores, **others}
    stacked = np.stack([c.scores for c in order]) if order else np.empty((0, 0))
    against = {name: _compared(stacked - other, groups) for name, other in others.items()}
    return [
        {
            "trial": c.trial,
            "step": c.step,
            "seed": c.seed,
            "point": dict(c.point),
            "accuracy": c.accuracy,
            "counts": _counts(c),
            "standard_error": _finite(standard_errors(c.scores[None], groups)[0]),
            "drift": c.drift,
            "guardrails": {name: check.as_dict() for name, check in c.checks.items()},
            "admissible": c.admissible,
            "shortlisted": c.checkpoint in shortlisted,
            "against": {name: rows[number] for name, rows in against.items()},
        }
        for number, c in enumerate(order)
    ]


def _compared(differences: Floats, groups: Groups) -> list[dict[str, Any]]:
    found = compare(differences, groups)
    corrected = holm([c.p_value for c in found])
    return [c.as_dict() | {"p_holm": p} for c, p in zip(found, corrected, strict=True)]


def _others_on_select(
    paths: SweepPaths, candidates: Sequence[Candidate], objective: str, incumbent: Incumbent | None
) -> dict[str, Floats]:
    if not candidates:
        return {}
    one = read_outcomes_of(paths, paths.outcome(*candidates[0].checkpoint))
    others = {REFERENCE: pair_scores(one.as_reference, objective)}
    if incumbent:
        held = read_outcomes_of(paths, paths.incumbent_outcome("select"))
        others[INCUMBENT] = pair_scores(held, objective)
    return others


def _of_winner(
    paths: SweepPaths, winner: Candidate, objective: str, incumbent: Incumbent | None
) -> dict[str, Any]:
    outcomes = {"select": read_outcomes_of(paths, paths.outcome(*winner.checkpoint))}
    verdict, is_exported = None, exported(paths) == winner.checkpoint
    opened = {opening.why for opening in read_openings(paths.store, paths.final_opened)}
    if why_opened(winner, objective) in opened:
        outcomes["final"] = read_outcomes_of(paths, paths.final_outcome(*winner.checkpoint))
        verdict = _verdict(paths, winner, outcomes["final"], objective, incumbent).as_dict()
    return {
        "verdict": verdict,
        "winner": {
            "trial": winner.trial,
            "point": dict(winner.point),
            "step": winner.step,
            "seed": winner.seed,
            "path": f"{paths.store.uri}/{paths.best}" if is_exported else None,
        },
        **{s: _scores(paths, s, o, objective) for s, o in outcomes.items()},
        "reference": {s: split_scores(o.as_reference, objective) for s, o in outcomes.items()},
        "incumbent": _of_incumbent(paths, incumbent, list(outcomes), objective),
    }


def _of_incumbent(
    paths: SweepPaths, incumbent: Incumbent | None, splits: Sequence[str], objective: str
) -> dict[str, Any] | None:
    if incumbent is None:
        return None
    held = {
        s: _scores(paths, s, read_outcomes_of(paths, paths.incumbent_outcome(s)), objective)
        for s in splits
    }
    return {"name": incumbent.name, "path": incumbent.path, **held}


def _verdict(
    paths: SweepPaths,
    winner: Candidate,
    final: Outcomes,
    objective: str,
    incumbent: Incumbent | None,
) -> Verdict:
    other, against = final.as_reference, REFERENCE
    if incumbent:
        other, against = read_outcomes_of(paths, paths.incumbent_outcome("final")), INCUMBENT
    difference = pair_scores(final, objective) - pair_scores(other, objective)
    [comparison] = compare(difference[None], read_groups(paths, "final"))
    openings = len(read_openings(paths.store, paths.final_opened))
    return verdict_on_final(comparison, winner.name, len(difference), against, openings)


def _nothing(candidates: Sequence[Candidate], incumbent: Incumbent | None) -> Verdict:
    broken = Counter(n for c in candidates for n, check in c.checks.items() if check.excludes)
    return verdict_without_winner(len(candidates), broken, INCUMBENT if incumbent else REFERENCE)


def _runner_up(paths: SweepPaths, second: Candidate, objective: str) -> dict[str, Any]:
    outcomes = read_outcomes_of(paths, paths.outcome(*second.checkpoint))
    told = _scores(paths, "select", outcomes, objective)
    return {"trial": second.trial, "step": second.step, "select": told}


def _scores(paths: SweepPaths, split: str, outcomes: Outcomes, objective: str) -> ScoresJson:
    return split_scores(outcomes, objective, read_labels(paths, split), read_groups(paths, split))


def _counts(candidate: Candidate) -> dict[str, int]:
    found = candidate.scores
    correct, ties = int((found == 1).sum()), int((found == 0.5).sum())
    return {"correct": correct, "ties": ties, "total": len(found)}


def _finite(value: float) -> float | None:
    """JSON has no infinity, which is what one prompt group knows of its error."""
    return float(value) if np.isfinite(value) else None
