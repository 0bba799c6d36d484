"""The choice with generated answers: which candidates are asked, and what their answers change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpo_core.errors import UserError
from dpo_core.evaluation.outcomes import write_outcomes
from dpo_core.storage.store import Store
from sweeps.config.selection import GuardrailSettings
from sweeps.finalize.choose_winner import choose_winner, choose_with_answers
from sweeps.finalize.incumbent import _score_remotely
from sweeps.finalize.selection_json import SelectionInputs
from sweeps.reselect import replayed_config
from sweeps.run_dir import ledger
from sweeps.run_dir.answers import checkpoint_name
from sweeps.run_dir.paths import SweepPaths, SweepRef
from sweeps.selection.guardrails import Check, check_guardrails
from sweeps.selection.rule import Candidate
from sweeps.selection.statistics import Groups
from tests.support.ended_sweep import record_of, scored_pairs, write_ended_sweep

PAIRS = 100
GROUPS = Groups(np.arange(PAIRS, dtype=np.int64) // 2)


def candidate(trial: str, right: int, drift: float, step: int = 10, **changes) -> Candidate:
    """Return a candidate that is right on the first `right` of 100 pairs."""
    scores = (np.arange(PAIRS) < right).astype(np.float64)
    changes = {"checks": check_guardrails({}, GuardrailSettings()), **changes}
    return Candidate(trial, step, 0, {}, scores, -drift, drift, **changes)


def answering(*long_winded: str):
    """Return what asks candidates, of which the named trials answer at twice the length, and a log.

    There are nine prompts, because one answer shows nothing.
    """
    asked = []

    def ask(candidate: Candidate):
        asked.append(candidate.trial)
        own = list(range(20 if candidate.trial in long_winded else 10))
        by = {"reference": list(range(10)), checkpoint_name(candidate.checkpoint): own}
        return {"by": {whom: [{"tokens": tokens}] * 9 for whom, tokens in by.items()}}

    return ask, asked


def chosen(everyone, ask, **guardrails):
    candidates, choice, _ = choose_with_answers(
        everyone, GROUPS, GuardrailSettings(**guardrails), ask
    )
    return {c.checkpoint: c for c in candidates}, choice.winner and choice.winner.trial


FOUR = [candidate(f"t{i:04d}", 90 - 10 * i, 0.1 + i) for i in range(4)]


def test_only_those_who_would_win_are_asked() -> None:
    ask, asked = answering()
    candidates, winner = chosen(FOUR, ask)
    assert (winner, asked) == ("t0000", ["t0000"])
    assert candidates["t0000", 10].checks["length_growth"] == Check(
        1.0, 1.3, True, "exclude", "at least 1.00 (99.5 %); 9 of 9 answers ended, the reference's 9"
    )
    assert len(candidates) == 4


def test_longer_answers_exclude_and_the_next_is_asked() -> None:
    ask, asked = answering("t0000", "t0001")
    candidates, winner = chosen(FOUR, ask)
    assert (winner, asked) == ("t0002", ["t0000", "t0001", "t0002"])
    check = candidates["t0000", 10].checks["length_growth"]
    assert (check.value, check.excludes) == (pytest.approx(2.0), True)
    assert not candidates["t0000", 10].admissible


def test_longer_answers_to_one_prompt_may_be_chance() -> None:
    ask, _ = answering("t0000")

    def ask_once(candidate: Candidate):
        return {"by": {whom: rows[:1] for whom, rows in ask(candidate)["by"].items()}}

    candidates, winner = chosen(FOUR, ask_once)
    assert winner == "t0000"
    assert candidates["t0000", 10].checks["length_growth"].value == pytest.approx(2.0)


def test_longer_answers_warn_if_the_config_says_so() -> None:
    ask, asked = answering("t0000")
    assert chosen(FOUR, ask, length_growth={"action": "warn"})[1] == "t0000"
    assert asked == ["t0000"]


def test_when_all_answers_are_too_long_nobody_wins() -> None:
    ask, asked = answering(*(c.trial for c in FOUR))
    candidates, winner = chosen(FOUR, ask)
    assert winner is None
    assert len(asked) == 4
    assert not any(c.admissible for c in candidates.values())


def test_without_answers_the_checks_stay_as_they_are() -> None:
    assert chosen(FOUR, lambda _: {"by": {}})[1] == "t0000"


def test_a_candidate_without_its_checkpoint_is_passed_over() -> None:
    ask, _ = answering()
    candidates, winner = chosen(FOUR, lambda c: None if c.trial == "t0000" else ask(c))
    assert winner == "t0001"
    assert candidates["t0000", 10].admissible


# From the run directory


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    """An ended sweep, of which t0001 and t0002 still have their checkpoints."""
    paths = write_ended_sweep(tmp_path)
    for trial in ("t0001", "t0002"):
        paths.store.write(f"{paths.checkpoint(trial, 8)}/manifest.json", b"{}")
    return paths


class Models:
    """Stands in for a worker: every model answers with ten tokens, those in `longer` with thirty."""

    def __init__(self, paths: SweepPaths, *longer: str) -> None:
        self.paths, self.longer, self.asked = paths, longer, []

    def __call__(self, function: Any, ref: SweepRef, *arguments: Any) -> Any:
        if function is _score_remotely:
            incumbent, split = arguments
            scored = write_outcomes(scored_pairs(44, 0.2, 5), {"path": incumbent.path})
            self.paths.store.write(self.paths.incumbent_outcome(split), scored)
            return None
        missing, _, _, batches, limit = arguments
        self.asked += missing
        return {
            whom: [self._answer(whom, limit) for batch in batches for _ in batch]
            for whom in missing
        }

    def _answer(self, whom: str, limit: int) -> dict[str, Any]:
        count = min(30 if whom in self.longer else 10, limit)
        return {"text": "", "tokens": list(range(count)), "ended": True}


def files_of(paths: SweepPaths) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in Path(paths.store.uri).rglob("*") if p.is_file()}


def winner_of(paths: SweepPaths, call: Any, *overrides: str) -> SelectionInputs:
    config = replayed_config(paths, overrides)
    return choose_winner(config, paths, ledger.read(paths.store, paths.ledger), call)


def test_a_candidate_that_would_win_is_asked_and_its_answers_are_checked(paths: SweepPaths) -> None:
    models = Models(paths, "t0001-step-000008")
    inputs = winner_of(paths, models)
    assert models.asked == ["reference", "t0001-step-000008", "t0002-step-000008"]
    assert inputs.choice.winner is not None
    assert inputs.choice.winner.trial == "t0002", "t0001 answers three times as long"
    checks = {c.trial: c.checks["length_growth"].value for c in inputs.pool}
    assert checks == {"t0000": None, "t0001": pytest.approx(3.0), "t0002": pytest.approx(1.0)}


def test_stored_answers_give_the_same_choice_and_nothing_is_written(paths: SweepPaths) -> None:
    generated = winner_of(paths, Models(paths, "t0001-step-000008"))
    before = files_of(paths)
    stored = winner_of(paths, None)
    assert files_of(paths) == before
    assert [c.checks for c in stored.pool] == [c.checks for c in generated.pool]
    assert stored.choice.winner is not None
    assert stored.choice.winner.checkpoint == ("t0002", 8)


def test_without_stored_answers_their_checks_stay_open(paths: SweepPaths) -> None:
    inputs = winner_of(paths, None)
    assert inputs.choice.winner is not None
    assert inputs.choice.winner.trial == "t0001"
    assert {c.checks["length_growth"].passed for c in inputs.pool} == {None}


def test_nobody_is_asked_when_no_answers_are_sampled(paths: SweepPaths) -> None:
    models = Models(paths)
    inputs = winner_of(paths, models, "selection.sample_prompts=0")
    assert (models.asked, inputs.choice.winner.trial) == ([], "t0001")


def test_a_candidate_without_its_checkpoint_is_not_asked(paths: SweepPaths) -> None:
    paths.store.delete(f"{paths.checkpoints}/t0001")
    models = Models(paths)
    assert winner_of(paths, models).choice.winner.trial == "t0002"
    assert models.asked == ["reference", "t0002-step-000008"]


def test_the_incumbent_is_scored_or_must_have_been(paths: SweepPaths, tmp_path: Path) -> None:
    Store.open(tmp_path).write("other/best/config.json", b"{}")
    override = f"selection.incumbent={tmp_path}/other"
    with pytest.raises(UserError, match="was never scored on this sweep's pairs; --write does"):
        winner_of(paths, None, override)
    models = Models(paths)
    inputs = winner_of(paths, models, override)
    assert inputs.incumbent is not None
    assert (inputs.incumbent.name, inputs.against) == ("other", "incumbent")
    assert models.asked == ["reference", "incumbent", "t0001-step-000008"]
    assert winner_of(paths, None, override).choice.winner.trial == "t0001"
    assert winner_of(paths, None).against == "reference"


def confirmed_winner(paths: SweepPaths, drifts: dict[str, float]) -> SelectionInputs:
    """Choose after two points were trained again, which drifted so far with their new seeds."""
    points = {"t0001": 0.2, "t0002": 0.3}
    records = [
        replace(record, point={"beta": points.get(record.trial, 0.1)})
        for record in ledger.read(paths.store, paths.ledger)
    ]
    for trial, right in (("t0001-s1", 31), ("t0002-s1", 50)):
        scored = scored_pairs(right, drifts[trial], right)
        paths.store.write(paths.outcome(trial, 8), write_outcomes(scored, {"step": 8}))
        confirmed = trial.partition("-")[0]
        point = {"beta": points[confirmed]}
        records.append(replace(record_of(trial, scored, 0.1), point=point, confirms=confirmed))
    config = replayed_config(paths, ["selection.confirm={top: 2, seeds: 1}"])
    return choose_winner(config, paths, records, None)


def test_confirmed_points_are_chosen_by_their_means(paths: SweepPaths) -> None:
    """t0001 found a good number by luck; its point is worse with a new seed than that of t0002."""
    inputs = confirmed_winner(paths, {"t0001-s1": 0.1, "t0002-s1": 0.1})
    assert [c.original.trial for c in inputs.confirmations] == ["t0002", "t0001"]
    assert [c.trial for c in inputs.pool] == ["t0002-s1", "t0001-s1"]
    assert inputs.choice.winner is not None
    assert inputs.choice.winner.checkpoint == ("t0002-s1", 8)
    assert inputs.confirmed is True
    assert len(inputs.candidates) == 5


def test_when_confirmation_leaves_nothing_the_best_of_the_search_wins_unconfirmed(
    paths: SweepPaths,
) -> None:
    inputs = confirmed_winner(paths, {"t0001-s1": 9.0, "t0002-s1": 9.0})
    assert [point.mean for point in inputs.confirmations] == [None, None]
    assert inputs.choice.winner is not None
    assert (inputs.choice.winner.trial, inputs.confirmed) == ("t0001", False)


def test_so_it_does_when_answers_exclude_the_confirmed_points(
    paths: SweepPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, asked = answering("t0001-s1", "t0002-s1")
    monkeypatch.setattr("sweeps.finalize.choose_winner._stored_answers", lambda _: ask)
    inputs = confirmed_winner(paths, {"t0001-s1": 0.1, "t0002-s1": 0.1})
    assert asked == ["t0002-s1", "t0001-s1", "t0001"]
    assert inputs.choice.winner is not None
    assert (inputs.choice.winner.trial, inputs.confirmed) == ("t0001", False)
    excluded = [c.trial for c in inputs.pool if not c.admissible]
    assert excluded[:2] == ["t0002-s1", "t0001-s1"], "why they lost is shown"


def test_when_the_checkpoints_of_all_that_could_win_are_gone_nothing_is_decided(
    paths: SweepPaths,
) -> None:
    """Guardrails excluded none of them, so a verdict that none is admissible would be false."""
    for trial in ("t0001", "t0002"):
        paths.store.delete(f"{paths.checkpoints}/{trial}")
    with pytest.raises(
        UserError, match="t0001 at step 8 would win, but its checkpoint is gone, as "
    ):
        winner_of(paths, Models(paths))
    assert winner_of(paths, None).choice.winner.trial == "t0001", "a replay exports nothing"


def test_what_was_never_trained_again_is_not_called_so(paths: SweepPaths) -> None:
    inputs = winner_of(paths, None, "selection.confirm.top=2", "selection.confirm.seeds=2")
    assert inputs.confirmations == []
