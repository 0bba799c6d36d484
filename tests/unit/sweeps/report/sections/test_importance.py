"""Tests of the importance of hyperparameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sweeps.report.report_data import ReportData
from sweeps.report.sections.importance import FEWEST_TRIALS, importance, importance_section
from tests.support.report_sections import plots, texts
from tests.support.toy_sweeps import ScriptedSweep
from tests.support.toys import toy_pairs


def test_importance_names_what_was_scripted(tmp_path: Path) -> None:
    """Only the learning rate moves the outcome here."""
    keys = ["search.trials=60", 'space={"beta": 0.1, "learning_rate": {"log_uniform": [1e-6, 1e-4]},'
            ' "length_norm": {"choice": ["none", "mean"]}}']  # fmt: skip
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(300), keys)
    records = [sweep.end(number) for number in range(60)]
    shares = importance(sweep.config.search_space, records, sweep.objective)
    assert shares is not None
    assert list(shares) == ["learning_rate", "length_norm"], "beta never varied"
    assert shares["learning_rate"] > 0.7
    too_few = records[: FEWEST_TRIALS - 1]
    assert importance(sweep.config.search_space, too_few, "reward_accuracy") is None


def test_the_plot_has_the_shares(ended: ReportData) -> None:
    plot = plots([importance_section(ended)])["importance"]
    shares = importance(ended.config.search_space, ended.records, ended.objective)
    assert shares is not None
    [bars] = plot.figure.data
    assert dict(zip(bars.y, bars.x, strict=True)) == shares
    assert [line.split()[0] for line in plot.text] == list(shares)


def test_with_too_few_trials_it_says_how_many_are_needed(ended: ReportData) -> None:
    section = importance_section(replace(ended, ended_trials=ended.ended_trials[:3]))
    [sentence] = texts(section)
    assert sentence.endswith("; 3 were evaluated here.")
    assert str(FEWEST_TRIALS) in sentence


def test_trials_outside_of_the_space_and_confirmations_do_not_count(ended: ReportData) -> None:
    space = ended.config.search_space
    outside = [replace(r, point={**r.point, "beta": 99.0}) for r in ended.ended_trials]
    assert importance(space, outside, ended.objective) is None
    again = [replace(r, confirms="t0000") for r in ended.ended_trials]
    [sentence] = texts(importance_section(replace(ended, ended_trials=again)))
    assert sentence.endswith("; 0 were evaluated here.")
