"""How the nights went: pure rows, whatever the order they come in."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sweeps.cli.terminal import nights
from sweeps.nightly.trend import night_row, trend
from tests.support.selections import a_selection, text_of


def about(night: str, **changes: Any) -> dict[str, Any]:
    return {
        "night": night,
        "workers": 2,
        "gpus_per_worker": 0.5,
        "control": "t0000",
        "warm_started": 7,
        "promoted": False,
        "data_sha256": "d",
        "code": {"version": "0.1.0", "commit": "c"},
        **changes,
    }


def row(night: str, **changes: Any) -> dict[str, Any]:
    return night_row(about(night, **changes), a_selection(sweep=f"hh-{night}"))


def test_a_night_in_numbers() -> None:
    told = row("2026-11-24")
    selection = a_selection()
    assert told["final"] == selection["final"]["accuracy"]
    assert told["reference_final"] == 0.5
    assert told["incumbent_final"] is None
    assert told["control"] == 11 / 20  # t0000's on select
    assert (told["trials"], told["finished"], told["failed"], told["stopped"]) == (3, 2, 1, 0)
    assert told["failures"] == {"nan": 1}
    assert told["seconds"] == 7.5
    # Three trials of 2.5 s on two workers with half a GPU each.
    assert told["worker_hours"] == pytest.approx(3 * 2.5 * 2 / 3600)
    assert told["gpu_hours"] == pytest.approx(3 * 2.5 / 3600)


def test_a_night_without_a_winner_has_no_accuracies() -> None:
    selection = a_selection(winner=None)
    for split in ("select", "final", "reference"):
        del selection[split]
    told = night_row(about("2026-11-24", control=None), selection)
    assert (told["final"], told["final_interval"], told["reference_final"]) == (None, None, None)
    assert told["control"] is None


def test_what_changed_since_the_night_before() -> None:
    rows = [
        {**row("2026-11-22"), "final": 0.60},
        {**row("2026-11-23", promoted=True, data_sha256="e"), "final": 0.65},
        {**row("2026-11-24", data_sha256="e", code={"commit": "k"}), "final": None},
        {**row("2026-11-25", data_sha256="e", code={"commit": "k"}), "final": 0.70},
    ]
    random.Random(0).shuffle(rows)
    told = trend(rows)
    assert [each["night"][-2:] for each in told] == ["22", "23", "24", "25"]
    assert [each["final_change"] for each in told] == [None, pytest.approx(0.05), None, None]
    assert [each["data_changed"] for each in told] == [None, True, False, False]
    assert [each["code_changed"] for each in told] == [None, False, True, False]
    incumbents = [each["incumbent_after"] for each in told]
    assert incumbents == [None, "2026-11-23", "2026-11-23", "2026-11-23"]


def test_the_incumbents_accuracy_is_that_of_the_nights_after_its_promotion() -> None:
    rows = [
        {**row("2026-11-22", promoted=True), "incumbent_final": None},
        {**row("2026-11-23"), "incumbent_final": 0.60},
        {**row("2026-11-24"), "incumbent_final": None},  # no winner, so final stayed shut
        {**row("2026-11-25", data_sha256="e"), "incumbent_final": 0.56},
        {**row("2026-11-26", promoted=True), "incumbent_final": 0.57, "final": 0.70},
        {**row("2026-11-27"), "incumbent_final": 0.64},
    ]
    told = trend(rows)
    accuracies = [each["incumbent_accuracy"] for each in told]
    assert accuracies == [None, 0.60, 0.60, pytest.approx(0.58), None, 0.64]
    assert [each["incumbent_nights"] for each in told] == [0, 1, 1, 2, 0, 1]
    changed = [each["incumbent_pairs_changed"] for each in told]
    assert changed == [False, False, False, True, False, False]
    assert trend(rows[1:2])[0]["incumbent_accuracy"] is None, "promoted before these nights"


def test_no_nights_no_trend() -> None:
    assert trend([]) == []


def test_a_night_that_is_told_twice_counts_once() -> None:
    first, second = row("2026-11-24"), {**row("2026-11-24"), "verdict": "worse"}
    assert [each["verdict"] for each in trend([first, second])] == ["worse"]


def test_the_table_shows_every_night_and_marks_the_promoted() -> None:
    shown = text_of(nights(trend([row("2026-11-23", promoted=True), row("2026-11-24")])))
    assert "better *" in shown
    assert "2026-11-24" in shown
    assert "0.550" in shown


def test_a_training_row_more_does_not_make_final_pairs_fresh() -> None:
    """The incumbent was promoted on these very final pairs; only the train split has grown."""
    first = row("2026-11-24", promoted=True, final_sha256="f", data_sha256="a")
    later = row("2026-11-25", final_sha256="f", data_sha256="b")
    later["incumbent_final"] = 0.7
    assert trend([first, later])[-1]["incumbent_pairs_changed"] is False
    older = {**first, "final_sha256": None, "data_sha256": "b"}
    assert trend([older, later])[-1]["incumbent_pairs_changed"] is False, "by an earlier version"
    later["final_sha256"] = "g"
    assert trend([first, later])[-1]["incumbent_pairs_changed"] is True


def test_trials_of_the_confirmation_count() -> None:
    counts = {"search": 14, "confirmation": 3, "failed": 1}
    selection = {**a_selection(), "trial_counts": counts, "trial_seconds": 7200.0}
    told = night_row(about("2026-11-24"), selection)
    assert (told["trials"], told["failed"], told["worker_hours"]) == (17, 1, 4.0)
    assert told["finished"] == 16
