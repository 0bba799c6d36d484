"""The content of selection.json: the choice, its verdict, and all numbers that led to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from dpo_core.evaluation.held_out_loss import held_out_loss
from dpo_core.evaluation.outcomes import Floats, Outcomes
from dpo_core.hyperparams import DPOHyperparams
from sweeps.config.schema import SweepConfig
from sweeps.config.selection import GuardrailSettings
from sweeps.finalize.export import exported
from sweeps.finalize.final_split import Opening, find_opening, read_openings
from sweeps.finalize.incumbent import Incumbent
from sweeps.run_dir.answers import checkpoint_name, differing_answers, read_answers
from sweeps.run_dir.exported import ExportedModel
from sweeps.run_dir.json_types import (
    GuardrailJson,
    IncumbentJson,
    RunnerUpJson,
    ScoresJson,
    SelectionJson,
    SplitScoresJson,
    VerdictJson,
    WinnerJson,
)
from sweeps.run_dir.ledger import TrialRecord, searched
from sweeps.run_dir.outcome_files import read_outcomes_of
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared, float32_price, read_labels
from sweeps.selection.candidate_rows import candidate_rows
from sweeps.selection.candidates import CandidateRules, read_groups
from sweeps.selection.confirmation import Confirmation
from sweeps.selection.effect import Effect, measure_effect
from sweeps.selection.eligibility import moved_scores, violations
from sweeps.selection.leaderboard import trial_rows
from sweeps.selection.pareto import pareto_rows
from sweeps.selection.rule import Candidate, Choice, runner_up
from sweeps.selection.split_scores import pair_scores, reference_scores, split_scores
from sweeps.selection.statistics import compare
from sweeps.selection.trial_counts import count_trials
from sweeps.selection.verdict import (
    INCUMBENT,
    REFERENCE,
    RaisedThreshold,
    Verdict,
    verdict_on_final,
    verdict_without_winner,
)


@dataclass(frozen=True)
class SelectionInputs:
    """Everything that is known once the winner is chosen."""

    records: Sequence[TrialRecord]
    candidates: Sequence[Candidate]
    """All checkpoints that were evaluated."""
    confirmations: Sequence[Confirmation]
    pool: Sequence[Candidate]
    """The candidates among which the winner was chosen, with the checks on their answers."""
    choice: Choice
    rules: CandidateRules
    incumbent: Incumbent | None

    @property
    def confirmed(self) -> bool | None:
        """Return whether the winner is one of the points trained again; None where none was."""
        winner = self.choice.winner
        if winner is None or not self.confirmations:
            return None
        return SweepPaths.confirms(winner.trial) is not None

    @property
    def against(self) -> str:
        """Return what the winner is compared with."""
        return INCUMBENT if self.incumbent else REFERENCE

    @property
    def opponent(self) -> str:
        """Return the same as an opening of final names it: an incumbent by its path."""
        return self.incumbent.path if self.incumbent else REFERENCE


class _Conditions(TypedDict):
    """Conditions of a verdict beside the final pairs."""

    threshold: float
    confirmed: bool | None


class _WinnerScores(TypedDict, total=False):
    """Scores of the winner and of the reference; empty without a winner."""

    select: ScoresJson
    final: ScoresJson
    reference: SplitScoresJson


def selection_json(
    config: SweepConfig, paths: SweepPaths, inputs: SelectionInputs
) -> SelectionJson:
    """Build the content of selection.json.

    Args:
        config: Config of the sweep; its objective and guardrails are those of the choice.
        paths: The run directory, with outcomes of the winner and of the incumbent.
        inputs: The choice and what led to it.

    Returns:
        The content. Until final is opened for the winner, it has no `final` and the verdict has no
        word.
    """
    objective, winner = config.selection.objective, inputs.choice.winner
    opening = (
        find_opening(paths, why_opened(winner, objective), inputs.opponent) if winner else None
    )
    outcomes = _winner_outcomes(paths, winner, opening) if winner else {}
    checked = _add_checks_of_pool(inputs)
    others = _others_on_select(paths, inputs, objective)
    return {
        "sweep": paths.sweep_id,
        "folder": paths.store.uri,
        "base_model": config.model.path,
        "objective": objective,
        "verdict": _verdict(paths, inputs, opening, outcomes.get("final"), objective),
        "winner": _winner_row(paths, winner) if winner else None,
        "incumbent": _incumbent_scores(paths, inputs.incumbent, outcomes, objective),
        **_winner_scores(paths, outcomes, objective),
        "runner_up": _runner_up(paths, inputs, objective),
        "guardrails": _guardrail_rows(config.selection.guardrails),
        "candidates": candidate_rows(checked, inputs.choice, inputs.rules.groups, others),
        "pareto": pareto_rows(candidate for candidate in checked if candidate.can_win),
        "confirmation": [confirmation.row() for confirmation in inputs.confirmations],
        "final_opened": [o.as_dict() for o in read_openings(paths)],
        "trials": trial_rows(searched(inputs.records), objective),
        "trial_counts": count_trials(inputs.records),
        "trial_seconds": sum(record.seconds for record in inputs.records),
    }


def why_opened(winner: Candidate, objective: str) -> str:
    """Return what final is opened for: the same checkpoint by another objective is another choice."""
    return f"{winner.name} by {objective}"


def _guardrail_rows(settings: GuardrailSettings) -> dict[str, GuardrailJson]:
    return {
        name: {"limit": guardrail.limit, "action": guardrail.action}
        for name, guardrail in settings.named.items()
    }


def _add_checks_of_pool(inputs: SelectionInputs) -> list[Candidate]:
    """Return all candidates, those of the pool with the checks on their generated answers."""
    checks = {c.checkpoint: c.checks for c in inputs.pool}
    return [replace(c, checks=checks.get(c.checkpoint, c.checks)) for c in inputs.candidates]


def _winner_outcomes(
    paths: SweepPaths, winner: Candidate, opening: Opening | None
) -> dict[str, Outcomes]:
    """Read the winner's outcomes by split; those of final once it was opened for the winner."""
    outcomes = {"select": read_outcomes_of(paths, paths.outcome(*winner.checkpoint))}
    if opening is not None:
        outcomes["final"] = read_outcomes_of(paths, paths.final_outcome(*winner.checkpoint))
    return outcomes


def _others_on_select(
    paths: SweepPaths, inputs: SelectionInputs, objective: str
) -> dict[str, Floats]:
    """Return the scores on select of the policies that candidates are compared with."""
    if not inputs.candidates:
        return {}
    any_outcomes = read_outcomes_of(paths, paths.outcome(*inputs.candidates[0].checkpoint))
    others = {REFERENCE: pair_scores(any_outcomes.as_reference, objective)}
    if inputs.incumbent:
        outcomes = read_outcomes_of(paths, paths.incumbent_outcome("select"))
        others[INCUMBENT] = pair_scores(outcomes, objective)
    return others


def _verdict(
    paths: SweepPaths,
    inputs: SelectionInputs,
    opening: Opening | None,
    final: Outcomes | None,
    objective: str,
) -> VerdictJson:
    winner, threshold = inputs.choice.winner, inputs.rules.threshold
    about: _Conditions = {"threshold": threshold, "confirmed": inputs.confirmed}
    if winner is None:
        raised = _raised_threshold(paths, inputs)
        verdict = verdict_without_winner(inputs.pool, threshold, inputs.against, raised)
        return {**verdict.as_dict(), **about, "effect": None}
    if final is None or opening is None:
        return {**_verdict_before_final(paths, winner, inputs.against), **about, "effect": None}
    verdict = _verdict_on_final(paths, inputs, opening, final, objective)
    effect = _effect(paths, inputs, winner, final)
    return {**verdict.as_dict(), **about, "effect": effect.as_dict()}


def _raised_threshold(paths: SweepPaths, inputs: SelectionInputs) -> RaisedThreshold | None:
    """Count the candidates that only the noise of half precision keeps from being eligible."""
    settings, prepared = inputs.rules.settings, Prepared.read(paths)
    if inputs.rules.threshold <= settings.min_margin:
        return None
    undecided = 0
    for candidate in inputs.pool:
        outcomes = read_outcomes_of(paths, paths.outcome(candidate.trial, candidate.step))
        lacks = violations(outcomes, settings.objective, settings.min_margin)
        undecided += all(number <= 0 for number in lacks.values())
    return RaisedThreshold(
        settings.min_margin,
        prepared.margin_noise,
        prepared.score_dtype,
        undecided,
        float32_price(prepared.score_dtype, prepared.scoring_shares),
    )


def _verdict_before_final(paths: SweepPaths, winner: Candidate, against: str) -> VerdictJson:
    has_checkpoint = winner.step in paths.checkpoint_steps(winner.trial)
    remedy = "which takes --write" if has_checkpoint else "and its checkpoint is gone"
    return {
        "word": None,
        "sentence": f"{winner.name} would win; final was never opened for it, {remedy}",
        "against": against,
        "difference": None,
        "interval": None,
        "p_value": None,
    }


def _verdict_on_final(
    paths: SweepPaths,
    inputs: SelectionInputs,
    opening: Opening,
    final: Outcomes,
    objective: str,
) -> Verdict:
    other, threshold = final.as_reference, inputs.rules.threshold
    if inputs.incumbent:
        other = read_outcomes_of(paths, paths.incumbent_outcome("final"))
    one, another = (moved_scores(each, objective, threshold) for each in (final, other))
    difference = one - another
    groups, winner = read_groups(paths, "final"), inputs.choice.winner
    [comparison] = compare(difference[None], groups)
    return verdict_on_final(
        comparison,
        winner.name if winner else "",
        len(difference),
        inputs.against,
        opening.declared,
        opening.number,
        groups=len(groups.sizes),
        threshold=threshold,
        confirmed=inputs.confirmed,
    )


def _effect(
    paths: SweepPaths, inputs: SelectionInputs, winner: Candidate, final: Outcomes
) -> Effect:
    """Measure what the winner did to the final pairs, at the β that it was trained with."""
    record = next(r for r in inputs.records if r.trial == winner.trial)
    point = DPOHyperparams.from_point(record.point)
    loss, of_reference = (
        None if record.loss_beta is None else held_out_loss(outcomes, point, record.loss_beta)
        for outcomes in (final, final.as_reference)
    )
    name = checkpoint_name(winner.checkpoint)
    differ = differing_answers(read_answers(paths), name, REFERENCE)
    return measure_effect(final, inputs.rules.threshold, loss, of_reference, differ)


def _winner_row(paths: SweepPaths, winner: Candidate) -> WinnerJson:
    is_exported = exported(paths) == winner.checkpoint
    row: WinnerJson = {
        "trial": winner.trial,
        "point": dict(winner.point),
        "step": winner.step,
        "seed": winner.seed,
        "path": f"{paths.store.uri}/{paths.best}" if is_exported else None,
    }
    manifest = ExportedModel.of(paths).manifest if is_exported else None
    margins = manifest and manifest.get("margins")
    return {**row, "stored": margins} if margins else row


def _winner_scores(
    paths: SweepPaths, outcomes: Mapping[str, Outcomes], objective: str
) -> _WinnerScores:
    if not outcomes:
        return {}
    scores = _by_split(outcomes, lambda split, o: _scores(paths, split, o, objective))
    reference = _by_split(
        outcomes, lambda split, o: reference_scores(o, objective, read_groups(paths, split))
    )
    return {**scores, "reference": reference}


def _incumbent_scores(
    paths: SweepPaths,
    incumbent: Incumbent | None,
    winner_outcomes: Mapping[str, Outcomes],
    objective: str,
) -> IncumbentJson | None:
    """Return the incumbent's scores on the splits on which the winner has scores."""
    if incumbent is None or not winner_outcomes:
        return None
    outcomes = {
        split: read_outcomes_of(paths, paths.incumbent_outcome(split)) for split in winner_outcomes
    }
    scores = _by_split(outcomes, lambda split, o: _scores(paths, split, o, objective))
    return {"name": incumbent.name, "path": incumbent.path, **scores}


def _runner_up(paths: SweepPaths, inputs: SelectionInputs, objective: str) -> RunnerUpJson | None:
    second = runner_up(inputs.choice, inputs.pool, inputs.rules.groups)
    if second is None:
        return None
    outcomes = read_outcomes_of(paths, paths.outcome(*second.checkpoint))
    scores = _scores(paths, "select", outcomes, objective)
    return {"trial": second.trial, "step": second.step, "select": scores}


def _by_split(
    outcomes: Mapping[str, Outcomes], score: Callable[[str, Outcomes], ScoresJson]
) -> SplitScoresJson:
    scores: SplitScoresJson = {"select": score("select", outcomes["select"])}
    if "final" in outcomes:
        scores["final"] = score("final", outcomes["final"])
    return scores


def _scores(paths: SweepPaths, split: str, outcomes: Outcomes, objective: str) -> ScoresJson:
    return split_scores(outcomes, objective, read_labels(paths, split), read_groups(paths, split))
