"""The end of a sweep: choose on select, open final once for the choice, write what it showed.

The rules are in `records`, pure; the effects are here: generated answers, the export, final scores.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from sweeps.config.schema import SweepConfig
from sweeps.config.selection import GuardrailSettings
from sweeps.finalize.export import export_and_score, exported, final_outcomes
from sweeps.finalize.final_split import open_final
from sweeps.finalize.incumbent import Incumbent, find_incumbent, score_incumbent
from sweeps.finalize.model_card import write_card
from sweeps.finalize.sample_answers import answer
from sweeps.finalize.selection_json import SelectionInputs, selection_json, why_opened
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir.answers import name_of, read_answers, reusable_answers, tokens_of
from sweeps.run_dir.json_types import SelectionJson
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.candidates import CandidateReader
from sweeps.selection.confirmation import confirmed, eligible_candidates
from sweeps.selection.guardrails import Check, add_answer_checks, describe_failed_check
from sweeps.selection.rule import Candidate, Choice, choose
from sweeps.selection.statistics import Groups
from sweeps.selection.verdict import REFERENCE

log = logging.getLogger("dpo_sweeps")

# What answers.json holds once a candidate has answered; None when its checkpoint is gone.
Ask = Callable[[Candidate], dict[str, Any] | None]


def finalize_sweep(
    config: SweepConfig,
    paths: SweepPaths,
    records: Sequence[TrialRecord],
    call: RemoteCall,
    *,
    open_final_again: bool = False,
) -> dict[str, Any]:
    """What selection.json then holds. Safe to repeat: whatever is there already is kept.

    Raises FinalSpent when final was opened for another choice, unless told to open it again.
    """
    reader, incumbent = CandidateReader(paths, config.selection), find_incumbent(config)
    candidates = reader.candidates(records)
    if incumbent and candidates:
        score_incumbent(paths, incumbent, "select", call)
    points = confirmed(reader.finalists(records), candidates, records)
    ask = _asking(config, paths, incumbent, call)
    eligible, choice = choose_with_answers(
        eligible_candidates(points, candidates, records),
        reader.groups,
        config.selection.guardrails,
        ask,
    )
    if choice.winner is not None:
        _open_final(config, paths, choice.winner, call, force=open_final_again)
        if incumbent:
            score_incumbent(paths, incumbent, "final", call)
    inputs = SelectionInputs(
        records, candidates, points, eligible, choice, reader.groups, incumbent
    )
    selection = selection_json(config, paths, inputs)
    write_selection(paths, selection)
    return cast("dict[str, Any]", selection)


def choose_with_answers(
    candidates: Sequence[Candidate],
    groups: Groups,
    guardrails: GuardrailSettings,
    ask: Ask,
) -> tuple[list[Candidate], Choice]:
    """All candidates with what became known of them, and the choice.

    Answers cost time, so only those who would win are asked, one after the other, until one stands.
    """
    known = {c.checkpoint: c for c in candidates}
    eligible = set(known)
    while True:
        choice = choose((known[place] for place in eligible), groups)
        first = choice.winner
        if first is None:
            return list(known.values()), choice
        answers = ask(first)
        if answers is None:
            log.info(f"{first.name} would win, but its checkpoint is gone: the next is taken")
            eligible.remove(first.checkpoint)
            continue
        asked = known[first.checkpoint] = _checked(first, answers, guardrails)
        if asked.admissible:
            choice = choose((known[place] for place in eligible), groups)
            return list(known.values()), choice
        log.info(f"{asked.name} is excluded: {_exclusion(asked.checks)}")


def write_selection(paths: SweepPaths, selection: SelectionJson) -> None:
    """selection.json, and the model card when there is a winner."""
    if selection["winner"] is not None:
        write_card(paths, selection)
    paths.store.write(paths.selection, json.dumps(selection, indent=2, allow_nan=False).encode())


def kept_answers(paths: SweepPaths) -> Ask:
    """Asks nobody anew: what a candidate never answered stays unknown."""
    held = read_answers(paths)
    return lambda candidate: held


def _asking(
    config: SweepConfig, paths: SweepPaths, incumbent: Incumbent | None, call: RemoteCall
) -> Ask:
    def ask(candidate: Candidate) -> dict[str, Any] | None:
        if candidate.step not in paths.checkpoint_steps(candidate.trial):
            return None
        if not config.selection.sample_prompts:
            return {"by": {}}
        if name_of(candidate.checkpoint) not in reusable_answers(paths)["by"]:
            log.info(f"{candidate.name} answers {config.selection.sample_prompts} prompts")
        return answer(config, paths, candidate.checkpoint, incumbent, call)

    return ask


def _checked(
    candidate: Candidate, answers: Mapping[str, Any], guardrails: GuardrailSettings
) -> Candidate:
    ours, theirs = (tokens_of(answers, whom) for whom in (name_of(candidate.checkpoint), REFERENCE))
    if ours is None or theirs is None:
        return candidate
    return replace(candidate, checks=add_answer_checks(candidate.checks, ours, theirs, guardrails))


def _open_final(
    config: SweepConfig, paths: SweepPaths, winner: Candidate, call: RemoteCall, *, force: bool
) -> None:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    why = why_opened(winner, config.selection.objective)
    open_final(paths.store, paths.final_opened, why, when, force=force)
    if final_outcomes(paths, *winner.checkpoint) is None or exported(paths) != winner.checkpoint:
        log.info(f"exporting {winner.name}, scoring the final split")
        call(export_and_score, paths.ref, winner.trial, winner.step)


def _exclusion(checks: Mapping[str, Check]) -> str:
    found = {name: check for name, check in checks.items() if check.excludes}
    return ", ".join(
        describe_failed_check(name, check.value, check.limit) for name, check in found.items()
    )
