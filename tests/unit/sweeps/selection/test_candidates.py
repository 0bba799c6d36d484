"""Candidates are read from records and stored outcomes, each file once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dpo_core.errors import UserError
from dpo_core.evaluation.outcomes import Outcomes, write_outcomes
from dpo_core.storage.store import Store
from sweeps.config.selection import SelectionSettings
from sweeps.run_dir import ledger
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.candidates import CandidateReader, read_groups
from sweeps.selection.guardrails import Check, check_outcomes
from sweeps.selection.split_scores import pair_scores
from tests.support.ended_sweep import (
    PAIRS,
    REWARD,
    TOKEN,
    TRIALS,
    record_of,
    scored_pairs,
    write_ended_sweep,
)

CONFIRMED = SelectionSettings(confirm={"top": 2, "seeds": 1})


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return write_ended_sweep(tmp_path)


def records_of(paths: SweepPaths) -> list[TrialRecord]:
    return ledger.read(paths.store, paths.ledger)


def store_outcomes(paths: SweepPaths, trial: str, step: int, outcomes: Outcomes) -> None:
    paths.store.write(paths.outcome(trial, step), write_outcomes(outcomes, {"step": step}))


@pytest.mark.parametrize(("objective", "right"), [(REWARD, 55), (TOKEN, 58)])
def test_a_candidate_has_the_numbers_of_its_outcomes(
    paths: SweepPaths, objective: str, right: int
) -> None:
    settings = SelectionSettings(objective=objective)
    record = replace(records_of(paths)[0], seed=7)
    [candidate] = CandidateReader(paths, settings).candidates([record])
    outcomes = scored_pairs(*TRIALS["t0000"], seed=0)
    assert (candidate.trial, candidate.step, candidate.seed) == ("t0000", 8, 7)
    assert candidate.point == {"beta": 0.1, "learning_rate": 1e-5}
    assert candidate.scores.tolist() == pair_scores(outcomes, objective).tolist()
    assert candidate.accuracy == outcomes.count(objective).accuracy
    assert candidate.drift == candidate.chosen_gain == pytest.approx(1.5)
    # 60 pairs moved, of which half and one must; more are right than wrong, by one at least.
    assert candidate.violations == {"moved": -29 / 60, "accuracy": (1 - (2 * right - 60)) / 60}
    groups = read_groups(paths, "select")
    assert candidate.checks == check_outcomes(outcomes, objective, groups, settings.guardrails)
    assert candidate.checks["drift_chosen"] == Check(pytest.approx(1.5), 0.5, False, "exclude")


def test_a_failed_trial_never_wins_though_it_was_evaluated_at_its_last_step(
    paths: SweepPaths,
) -> None:
    first, second, third = records_of(paths)
    failed = replace(second, status=ledger.FAILED, reason="error", detail="RecursionError")
    candidates = CandidateReader(paths, SelectionSettings()).candidates([first, failed, third])
    assert [candidate.trial for candidate in candidates] == ["t0000", "t0002"]


def test_an_evaluation_without_whole_outcomes_is_no_candidate(paths: SweepPaths) -> None:
    first, second, third = records_of(paths)
    paths.store.delete(paths.outcome("t0000", 8))
    few = Outcomes(tuple("ab"), *([scored_pairs(2, 0.1, 0).chosen_logp[:2]] * 4), *PAIR_TOKENS)
    store_outcomes(paths, "t0001", 8, few)
    candidates = CandidateReader(paths, SelectionSettings()).candidates([first, second, third])
    assert [candidate.trial for candidate in candidates] == ["t0002"]


def test_damaged_outcomes_are_named_with_the_way_out(paths: SweepPaths) -> None:
    name = paths.outcome("t0001", 8)
    paths.store.write(name, paths.store.read(name)[:-9])
    with pytest.raises(UserError, match=rf"{name}: is damaged; restore .*`dpo-sweeps resume "):
        CandidateReader(paths, SelectionSettings()).candidates(records_of(paths))


def test_each_evaluation_is_read_once(paths: SweepPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_file = Store.read
    monkeypatch.setattr(
        Store, "read", lambda self, name: (read.append(name), read_file(self, name))[1]
    )
    reader, records = CandidateReader(paths, CONFIRMED), records_of(paths)
    read.clear()
    first, again = reader.candidates(records), reader.candidates(records[::-1])
    assert reader.finalists(records)
    assert again == first[::-1], "the same objects"
    outcomes = [name for name in read if name.startswith(paths.outcomes)]
    assert sorted(outcomes) == sorted(paths.outcome(trial, 8) for trial in TRIALS)
    assert read.count(paths.split("select")) == 1


def test_the_best_points_of_the_search_are_the_finalists(paths: SweepPaths) -> None:
    points = {"t0000": {"beta": 0.1}, "t0001": {"beta": 0.2}, "t0002": {"beta": 0.3}}
    records = [replace(record, point=points[record.trial]) for record in records_of(paths)]
    better = scored_pairs(59, 0.1, 3)
    store_outcomes(paths, "t0001-s1", 8, better)
    repeat = replace(record_of("t0001-s1", better, 0.1), point={"beta": 0.2}, confirms="t0001")
    finalists = CandidateReader(paths, CONFIRMED).finalists([*records, repeat])
    assert [candidate.trial for candidate in finalists] == ["t0001", "t0002"]
    assert CandidateReader(paths, SelectionSettings()).finalists(records) == []


def test_points_that_were_trained_again_stay_the_finalists(paths: SweepPaths) -> None:
    """Of three points the rule would take the first two now; the third was trained again."""
    points = {"t0000": {"beta": 0.1}, "t0001": {"beta": 0.2}, "t0002": {"beta": 0.3}}
    records = [replace(record, point=points[record.trial]) for record in records_of(paths)]
    one = SelectionSettings(confirm={"top": 1, "seeds": 1})
    assert [c.trial for c in CandidateReader(paths, one).finalists(records)] == ["t0001"]
    repeat = record_of("t0002-s1", scored_pairs(40, 0.1, 3), 0.1)
    again = [*records, replace(repeat, point={"beta": 0.3}, confirms="t0002")]
    assert [c.trial for c in CandidateReader(paths, one).finalists(again)] == ["t0002"]
    two = SelectionSettings(confirm={"top": 2, "seeds": 1})
    assert [c.trial for c in CandidateReader(paths, two).finalists(again)] == ["t0001", "t0002"]


def test_groups_are_in_the_order_of_ids(paths: SweepPaths) -> None:
    before = read_groups(paths, "select").codes.tolist()
    assert len(before) == PAIRS
    assert before[0] == before[1] != before[2] == before[3]
    lines = paths.store.read(paths.split("select")).splitlines(keepends=True)
    paths.store.write(paths.split("select"), b"".join(lines[::-1]))
    assert read_groups(paths, "select").codes.tolist() == before


PAIR_TOKENS = [scored_pairs(2, 0.1, 0).chosen_tokens[:2]] * 2
