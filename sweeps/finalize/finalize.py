"""The end of a sweep: choose on select, open final once for the choice, write what it showed.

The rules are in `records`, pure; the effects are here: generated answers, the export, final scores.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sweeps.config.schema import SweepConfig
from sweeps.config.selection import GuardrailSettings
from sweeps.finalize.export import export_and_score, exported, final_outcomes
from sweeps.finalize.final_split import open_final
from sweeps.finalize.incumbent import Incumbent, find_incumbent, score_incumbent
from sweeps.finalize.model_card import write_card
from sweeps.finalize.sample_answers import answer
from sweeps.finalize.selection_json import State, judgement, why_opened
from sweeps.ray_runtime.remote_call import Call
from sweeps.run_dir.answers import name_of, read_answers, tokens_of
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.candidates import Field
from sweeps.selection.confirmation import confirmed, electorate
from sweeps.selection.guardrails import Check, broken, with_answers
from sweeps.selection.rule import Choice, Contender, choose
from sweeps.selection.statistics import Groups
from sweeps.selection.verdict import REFERENCE

log = logging.getLogger("dpo_sweeps")

# What answers.json holds once a contender has answered; None when its checkpoint is gone.
Ask = Callable[[Contender], dict[str, Any] | None]


def conclude(
    config: SweepConfig,
    paths: SweepPaths,
    records: Sequence[TrialRecord],
    call: Call,
    *,
    open_final_again: bool = False,
) -> dict[str, Any]:
    """What selection.json then holds. Safe to repeat: whatever is there already is kept.

    Raises FinalSpent when final was opened for another choice, unless told to open it again.
    """
    field, incumbent = Field(paths, config.selection), find_incumbent(config)
    contenders = field.contenders(records)
    if incumbent and contenders:
        score_incumbent(paths, incumbent, "select", call)
    points = confirmed(field.finalists(records), contenders, records)
    ask = _asking(config, paths, incumbent, call)
    standing, choice = elect(
        electorate(points, contenders, records), field.groups, config.selection.guardrails, ask
    )
    if choice.winner is not None:
        _open_final(config, paths, choice.winner, call, force=open_final_again)
        if incumbent:
            score_incumbent(paths, incumbent, "final", call)
    state = State(records, contenders, points, standing, choice, field.groups, incumbent)
    selection = judgement(config, paths, state)
    write_selection(paths, selection)
    return selection


def elect(
    contenders: Sequence[Contender],
    groups: Groups,
    guardrails: GuardrailSettings,
    ask: Ask,
) -> tuple[list[Contender], Choice]:
    """All contenders with what became known of them, and the choice.

    Answers cost time, so only those who would win are asked, one after the other, until one stands.
    """
    known = {c.place: c for c in contenders}
    standing = set(known)
    while True:
        choice = choose((known[place] for place in standing), groups)
        first = choice.winner
        if first is None:
            return list(known.values()), choice
        answers = ask(first)
        if answers is None:
            log.info(f"{first.name} would win, but its checkpoint is gone: the next is taken")
            standing.remove(first.place)
            continue
        asked = known[first.place] = _checked(first, answers, guardrails)
        if asked.admissible:
            choice = choose((known[place] for place in standing), groups)
            return list(known.values()), choice
        log.info(f"{asked.name} is excluded: {_exclusion(asked.checks)}")


def write_selection(paths: SweepPaths, selection: dict[str, Any]) -> None:
    """selection.json, and the model card when there is a winner."""
    if selection["winner"] is not None:
        write_card(paths, selection)
    paths.store.write(paths.selection, json.dumps(selection, indent=2, allow_nan=False).encode())


def kept_answers(paths: SweepPaths) -> Ask:
    """Asks nobody anew: what a contender never answered stays unknown."""
    held = read_answers(paths)
    return lambda contender: held


def _asking(config: SweepConfig, paths: SweepPaths, incumbent: Incumbent | None, call: Call) -> Ask:
    def ask(contender: Contender) -> dict[str, Any] | None:
        if contender.step not in paths.checkpoint_steps(contender.trial):
            return None
        if not config.selection.sample_prompts:
            return {"by": {}}
        if name_of(contender.place) not in read_answers(paths)["by"]:
            log.info(f"{contender.name} answers {config.selection.sample_prompts} prompts")
        return answer(config, paths, contender.place, incumbent, call)

    return ask


def _checked(
    contender: Contender, answers: Mapping[str, Any], guardrails: GuardrailSettings
) -> Contender:
    ours, theirs = (tokens_of(answers, whom) for whom in (name_of(contender.place), REFERENCE))
    if ours is None or theirs is None:
        return contender
    return replace(contender, checks=with_answers(contender.checks, ours, theirs, guardrails))


def _open_final(
    config: SweepConfig, paths: SweepPaths, winner: Contender, call: Call, *, force: bool
) -> None:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    why = why_opened(winner, config.selection.objective)
    open_final(paths.store, paths.final_opened, why, when, force=force)
    if final_outcomes(paths, *winner.place) is None or exported(paths) != winner.place:
        log.info(f"exporting {winner.name}, scoring the final split")
        call(export_and_score, paths.storage.uri, paths.sweep_id, winner.trial, winner.step)


def _exclusion(checks: Mapping[str, Check]) -> str:
    found = {name: check for name, check in checks.items() if check.excludes}
    return ", ".join(broken(name, check.value, check.limit) for name, check in found.items())
