"""The pipeline from records to the choice, with answers that are generated or already stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from dpo_core.errors import UserError
from sweeps.config.schema import SweepConfig
from sweeps.config.selection import GuardrailSettings
from sweeps.finalize.cleaned import was_cleaned
from sweeps.finalize.incumbent import Incumbent, find_incumbent, is_scored, score_incumbent
from sweeps.finalize.sample_answers import answer_with
from sweeps.finalize.selection_json import SelectionInputs
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir.answers import checkpoint_name, prompt_groups, read_answers, reusable_answers
from sweeps.run_dir.json_types import AnswersJson
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.outcome_files import read_stored_outcomes
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.candidates import CandidateReader
from sweeps.selection.confirmation import candidate_pools, confirmed
from sweeps.selection.guardrails import Check, add_answer_checks, describe_failed_check
from sweeps.selection.leaderboard import judged_again
from sweeps.selection.rule import Candidate, Choice, choose
from sweeps.selection.statistics import Groups
from sweeps.selection.verdict import REFERENCE

log = logging.getLogger("dpo_sweeps")

GetAnswers = Callable[[Candidate], AnswersJson | None]
"""Returns the content of answers.json with a candidate's answers, as far as there are any; None when
the candidate cannot win because its checkpoint is gone."""


def choose_winner(
    config: SweepConfig,
    paths: SweepPaths,
    records: Sequence[TrialRecord],
    call: RemoteCall | None,
) -> SelectionInputs:
    """Read the candidates and choose among them.

    Args:
        config: Config of the sweep.
        paths: The run directory.
        records: Records of all trials.
        call: Runs models: the incumbent is scored, and candidates that would win generate answers.
            None uses the scores and answers that are stored, and writes nothing.

    Returns:
        The choice and everything that led to it.

    Raises:
        UserError: `call` is None and the incumbent has no stored scores; or the checkpoints of all
            candidates that would win are gone.
    """
    reader, incumbent = CandidateReader(paths, config.selection), find_incumbent(config)
    if call is None and incumbent and not is_scored(paths, incumbent, "select"):
        read_stored_outcomes(paths, paths.incumbent_outcome("select"))  # says when it is damaged
        raise UserError(
            f"selection.incumbent: {incumbent.path} was never scored on this sweep's pairs; --write "
            f"does that ({paths.incumbent_outcome('select')} is missing)"
        )
    candidates = reader.candidates(records)
    if call is not None and incumbent and candidates:
        score_incumbent(paths, incumbent, "select", call)
    finalists = reader.finalists(records) if any(r.confirms for r in records) else []
    confirmations = confirmed(finalists, candidates, records)
    get_answers = (
        _stored_answers(paths)
        if call is None
        else _generated_answers(config, paths, incumbent, call)
    )
    guardrails, pool, gone = config.selection.guardrails, list[Candidate](), list[Candidate]()
    for each in candidate_pools(confirmations, candidates, records):
        checked, choice, passed_over = choose_with_answers(
            each, reader.groups, guardrails, get_answers
        )
        pool += checked
        gone += passed_over
        if choice.winner is not None:
            break
    if choice.winner is None and gone:
        raise UserError(
            f"{paths.store.uri}/{paths.checkpoints}: {gone[0].name} would win, but its checkpoint is "
            f"gone, as are those of all {len(gone)} that could win; restore them from a copy, or run "
            "the sweep again under these settings (a sweep keeps no checkpoint that cannot win under "
            "its own)"
        )
    return SelectionInputs(
        judged_again(records, {c.checkpoint: c.all_violations for c in candidates}),
        candidates,
        confirmations,
        pool,
        choice,
        reader.rules,
        incumbent,
    )


def choose_with_answers(
    candidates: Sequence[Candidate],
    groups: Groups,
    guardrails: GuardrailSettings,
    get_answers: GetAnswers,
) -> tuple[list[Candidate], Choice, list[Candidate]]:
    """Choose a winner whose generated answers pass the guardrails.

    Answers take time, so only a candidate that would win is asked for them. When they exclude it,
    the next winner is asked, and so on.

    Args:
        candidates: The candidates that may be chosen.
        groups: Prompt groups of the select split.
        guardrails: Limits and actions.
        get_answers: Returns a candidate's answers.

    Returns:
        All candidates, with the checks on answers of those that were asked; the choice; and the
        candidates that would have won before it, had their checkpoints been there.
    """
    by_checkpoint = {candidate.checkpoint: candidate for candidate in candidates}
    remaining, gone = set(by_checkpoint), list[Candidate]()
    while True:
        choice = choose((by_checkpoint[key] for key in remaining), groups)
        winner = choice.winner
        if winner is None:
            return list(by_checkpoint.values()), choice, gone
        answers = get_answers(winner)
        if answers is None:
            log.info(f"{winner.name} would win, but its checkpoint is gone: the next is taken")
            gone.append(winner)
            remaining.remove(winner.checkpoint)
            continue
        checked = by_checkpoint[winner.checkpoint] = _check_answers(winner, answers, guardrails)
        if checked.admissible:
            choice = choose((by_checkpoint[key] for key in remaining), groups)
            return list(by_checkpoint.values()), choice, gone
        log.info(f"{checked.name} is excluded: {_describe_exclusion(checked.checks)}")


def _stored_answers(paths: SweepPaths) -> GetAnswers:
    """Return the answers of answers.json; a candidate without answers keeps its checks."""
    answers = read_answers(paths)
    return lambda candidate: answers


def _generated_answers(
    config: SweepConfig, paths: SweepPaths, incumbent: Incumbent | None, call: RemoteCall
) -> GetAnswers:
    """Return what generates the answers that answers.json lacks."""

    def get_answers(candidate: Candidate) -> AnswersJson | None:
        is_gone = candidate.step not in paths.checkpoint_steps(candidate.trial)
        if is_gone and not was_cleaned(paths):
            return None
        if not config.selection.sample_prompts:
            return {"by": {}}
        if checkpoint_name(candidate.checkpoint) not in reusable_answers(paths)["by"]:
            log.info(f"{candidate.name} answers prompts of the select split")
        return answer_with(config, paths, candidate.checkpoint, incumbent, call)

    return get_answers


def _check_answers(
    candidate: Candidate, answers: AnswersJson, guardrails: GuardrailSettings
) -> Candidate:
    own = answers["by"].get(checkpoint_name(candidate.checkpoint))
    of_reference = answers["by"].get(REFERENCE)
    if own is None or of_reference is None:
        return candidate
    groups = Groups.of(prompt_groups(answers))
    checks = add_answer_checks(candidate.checks, own, of_reference, groups, guardrails)
    return replace(candidate, checks=checks)


def _describe_exclusion(checks: Mapping[str, Check]) -> str:
    return ", ".join(
        describe_failed_check(name, check.value, check.limit)
        for name, check in checks.items()
        if check.excludes
    )
