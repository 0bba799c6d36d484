"""Tests of the leaderboard."""

from __future__ import annotations

import json
from dataclasses import replace

from sweeps.report import formatting
from sweeps.report.report_data import OPEN, ReportData
from sweeps.report.sections.leaderboard import leaderboard_section
from tests.support.report_sections import cells_by_column, tables, texts
from tests.support.toy_sweeps import ScriptedSweep


def test_the_leaderboard_is_the_ledgers(ended_sweep: ScriptedSweep, ended: ReportData) -> None:
    [(caption, board)] = tables(leaderboard_section(ended)).items()
    assert caption.startswith("11 trials ordered by reward_accuracy, the winner first")
    selection = json.loads(ended_sweep.paths.store.read("selection.json"))
    winner, by_accuracy = selection["winner"]["trial"], [r["trial"] for r in selection["trials"]]
    assert len(set(by_accuracy)) == 11
    assert [row.trial for row in board.rows] == sorted(by_accuracy, key=lambda t: t != winner)
    assert [row.trial for row in board.rows if row.marked] == [winner]
    rows = cells_by_column(board)
    assert rows[-1]["trial"] == "t0010"
    assert rows[-1]["status"] == "failed: nan (loss is nan at step 3)"
    assert rows[-1]["accuracy"] == formatting.MISSING
    assert rows[0]["selection"] == f"winner, step {selection['winner']['step']}"
    assert rows[0]["accuracy"] == f"{100 * selection['trials'][0]['accuracy']:.1f} %"


def test_the_winner_is_listed_first_whatever_its_accuracy(ended: ReportData) -> None:
    other = ended.selection["trials"][3]
    winner = {**ended.selection["winner"], "trial": other["trial"], "step": other["step"]}
    selection = {**ended.selection, "winner": winner}
    [board] = tables(leaderboard_section(replace(ended, selection=selection))).values()
    by_accuracy = [row["trial"] for row in ended.selection["trials"]]
    assert [row.trial for row in board.rows][:2] == [other["trial"], by_accuracy[0]]


def test_each_trial_is_ranked_by_its_best_candidate(ended: ReportData) -> None:
    candidates = [
        {"trial": trial, "step": step, "admissible": rank != "excluded", "shortlisted": rank == "listed"}
        for trial, step, rank in [
            ("t0000", 10, "listed"), ("t0000", 20, "excluded"),
            ("t0001", 10, "excluded"), ("t0001", 20, "admissible"),
            ("t0002", 10, "excluded"),
        ]
    ]  # fmt: skip
    selection = {**ended.selection, "candidates": candidates, "winner": None}
    [board] = tables(leaderboard_section(replace(ended, selection=selection))).values()
    ranks = {row["trial"]: row["selection"] for row in cells_by_column(board)}
    assert [ranks[f"t000{n}"] for n in range(4)] == [
        "shortlisted", "can win", "excluded", formatting.MISSING,
    ]  # fmt: skip


def test_without_candidates_there_is_no_column_of_the_selection(ended: ReportData) -> None:
    [(caption, board)] = tables(leaderboard_section(replace(ended, selection={}))).items()
    assert "selection" not in {column.name for column in board.columns}
    assert "the winner first" not in caption


def test_an_open_trial_has_no_seconds(ended: ReportData) -> None:
    going = replace(ended.ended_trials[0], trial="t0011", status=OPEN)
    [board] = tables(leaderboard_section(replace(ended, open_trials=[going]))).values()
    rows = {row["trial"]: row for row in cells_by_column(board)}
    assert (rows["t0011"]["status"], rows["t0011"]["seconds"]) == (OPEN, formatting.MISSING)
    assert rows["t0000"]["seconds"] == "62"


def test_before_any_trial_it_says_so(ended: ReportData) -> None:
    section = leaderboard_section(replace(ended, ended_trials=[]))
    assert texts(section) == ["No trial has been drawn yet."]


def test_intervals_respect_groups_and_wait_for_the_selection(
    ended: ReportData,
) -> None:
    row = ended.leaderboard[0]
    [candidate] = [
        c
        for c in ended.selection["candidates"]
        if (c["trial"], c["step"]) == (row["trial"], row["step"])
    ]
    assert list(ended.bounds_of(row)) == candidate["interval"]
    assert replace(ended, selection={}).bounds_of(row) is None
