"""Tests of what a report reads from a run directory, at every stage of a sweep."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.report.report_data import OPEN, ReportData, highlighted_checkpoint, read_report_data
from tests.support.toy_sweeps import ScriptedSweep
from tests.support.toys import toy_pairs


def test_the_pairs_that_are_shown_are_the_worst_of_select(
    ended_sweep: ScriptedSweep, ended: ReportData
) -> None:
    """Pairs of the final split are never shown, so that nobody tunes on them."""
    store = ended_sweep.paths.store
    margins = ended.outcomes["select"].margins(ended_sweep.objective)
    assert [margin for _, margin in ended.worst_pairs] == pytest.approx(sorted(margins)[:3])
    rows = [json.loads(line) for line in store.read("splits/select.jsonl").splitlines()]
    ids = ended.outcomes["select"].ids
    for row, margin in ended.worst_pairs:
        assert row in rows
        assert margins[ids.index(row["id"])] == margin


def test_of_an_ended_sweep_the_winner_is_highlighted(ended: ReportData) -> None:
    winner = ended.selection["winner"]
    assert winner is not None
    assert ended.highlighted == (winner["trial"], winner["step"])
    assert ended.highlighted_trials == {winner["trial"]}
    assert ended.highlighted_label == "winner"
    assert ended.reported_split == "final"
    assert set(ended.outcomes) == {"select", "final"}
    assert not ended.running


def test_a_winner_that_confirms_a_trial_highlights_both(ended: ReportData) -> None:
    trial = ended.leaderboard[0]["trial"]
    again = replace(ended.records[0], trial=f"{trial}-s1", confirms=trial)
    winner = {"trial": again.trial, "step": 40}
    data = replace(ended, ended_trials=[*ended.ended_trials, again], selection={"winner": winner})
    assert data.highlighted_trials == {trial, f"{trial}-s1"}
    assert f"{trial}-s1" not in {row["trial"] for row in data.leaderboard}


def test_before_anything_ran_everything_is_empty(tmp_path: Path) -> None:
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60))
    data = read_report_data(sweep.paths)
    assert data.running
    assert data.highlighted is None
    assert data.highlighted_trials == frozenset()
    assert data.reported_split is None
    empty = (data.records, data.leaderboard, data.evaluations, data.evaluated_trials, data.nights)
    assert [list(part) for part in empty] == [[], [], [], [], []]
    assert (data.audit, data.selection, data.worst_pairs) == ({}, {}, [])
    assert data.answers["by"] == {}


def test_a_running_sweep_shows_its_open_trials_and_the_best_so_far(tmp_path: Path) -> None:
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(120))
    sweep.end(0)
    sweep.evaluate(1, sweep.draw(1), (10, 20))
    sweep.draw(2)
    data = read_report_data(sweep.paths)
    assert [record.trial for record in data.ended_trials] == ["t0000"]
    assert [(r.trial, r.status, len(r.evaluations)) for r in data.open_trials] == [
        ("t0001", OPEN, 2),
        ("t0002", OPEN, 0),
    ]
    assert data.highlighted_label == "best so far"
    assert data.highlighted == highlighted_checkpoint({}, data.records, sweep.objective)
    assert data.reported_split == "select", "final is closed as long as there is no winner"
    assert {trial.name for trial in data.evaluated_trials} == {"t0000", "t0001"}
    assert len(data.evaluations) == 6


def test_an_evaluated_trial_has_the_counts_of_its_best_checkpoint(ended: ReportData) -> None:
    for trial in ended.evaluated_trials:
        counts = trial.counts
        accuracy = (counts["correct"] + counts["ties"] / 2) / counts["total"]
        assert trial.accuracy == pytest.approx(accuracy)
    assert "t0010" not in {trial.name for trial in ended.evaluated_trials}


@pytest.mark.parametrize(
    ("objective", "unit"),
    [("reward_accuracy", "nats"), ("token_reward_accuracy", "nats per token")],
)
def test_margins_have_the_unit_of_the_objective(
    ended: ReportData, objective: str, unit: str
) -> None:
    settings = ended.config.selection.model_copy(update={"objective": objective})
    config = ended.config.model_copy(update={"selection": settings})
    assert replace(ended, config=config).margin_unit == unit
