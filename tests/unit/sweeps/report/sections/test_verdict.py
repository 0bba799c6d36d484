"""Tests of the first section: the verdict in a sentence and in numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.report.blocks import Facts, Section
from sweeps.report.report_data import ReportData, read_report_data
from sweeps.report.sections.verdict import verdict_section, verdict_sentence, verdict_tone
from sweeps.report.write import write_report
from tests.support.report_sections import texts
from tests.support.toy_sweeps import ScriptedSweep
from tests.support.toys import toy_pairs


def facts(section: Section) -> dict[str, str]:
    return {n: text for b in section.blocks if isinstance(b, Facts) for n, text in b.items}


def with_selection(data: ReportData, **changes: Any) -> ReportData:
    return replace(data, selection={**data.selection, **changes})


def test_the_sentence_is_that_of_the_selection(ended: ReportData) -> None:
    assert verdict_sentence(ended) == ended.selection["verdict"]["sentence"]


def test_a_selection_older_than_verdicts_still_has_a_sentence(tmp_path: Path) -> None:
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60))
    sweep.end(0)
    winner = sweep.select(verdict=None, candidates=[], guardrails={})["winner"]
    sentence = verdict_sentence(read_report_data(sweep.paths))
    assert sentence == f"{winner['trial']} at step {winner['step']} was selected."
    write_report(sweep.paths)


def test_an_old_selection_without_a_winner_says_so(ended: ReportData) -> None:
    assert verdict_sentence(with_selection(ended, verdict=None, winner=None)) == "No winner."


@pytest.mark.parametrize(
    ("word", "tone"),
    [
        ("better", "good"),
        ("worse", "bad"),
        ("no admissible candidate", "bad"),
        ("not distinguishable", "open"),
        (None, "open"),
    ],
)
def test_the_colour_follows_the_verdict(ended: ReportData, word: str | None, tone: str) -> None:
    assert verdict_tone(with_selection(ended, verdict={"word": word})) == tone
    assert verdict_tone(replace(ended, selection={})) == "open"


def test_the_winner_and_the_numbers_of_the_verdict_are_shown(ended: ReportData) -> None:
    verdict = {"against": "incumbent", "difference": 0.1, "interval": [-0.01, 0.21], "p_value": 0.2}
    shown = facts(verdict_section(with_selection(ended, verdict=verdict)))
    winner = ended.selection["winner"]
    assert winner is not None
    assert shown["selected checkpoint"] == f"{winner['trial']}, step {winner['step']}"
    better = facts(verdict_section(with_selection(ended, verdict={**verdict, "word": "better"})))
    assert better["winner"] == shown["selected checkpoint"]
    assert shown["hyperparameters"].startswith("beta ")
    assert shown["objective"] == "reward_accuracy"
    assert shown["trials"] == "11 trials, 1 failed; 12 of the search planned"
    assert shown["gain over the incumbent"] == "+10.0 points"
    assert shown["95 % interval of the gain"] == "−1.0 to +21.0 points"
    assert shown["p-value"] == "0.200"


def test_what_the_winner_did_to_the_final_pairs_is_said(ended: ReportData) -> None:
    effect = ended.selection["verdict"]["effect"]
    [words, _] = texts(verdict_section(ended))
    assert words.startswith("The odds of the preferred answer ")
    assert f"the mean margin is {effect['mean_margin']:+.2f} nats" in words


def test_a_winner_whose_pairs_drown_in_noise_is_told_the_way_out(ended: ReportData) -> None:
    noise = {"score_dtype": "bfloat16", "margin_noise": 1e3, "scoring_shares": {}}
    shown = texts(verdict_section(replace(ended, prepared={**ended.prepared, **noise})))
    assert sum("selection.score_dtype=float32" in each for each in shown) == 1
    assert not any("score_dtype" in each for each in texts(verdict_section(ended)))
    data = with_selection(replace(ended, prepared={**ended.prepared, **noise}), winner=None)
    assert not any("score_dtype" in each for each in texts(verdict_section(data)))


def test_failed_trials_are_counted_by_their_reasons(ended: ReportData) -> None:
    [_, warning] = texts(verdict_section(ended))
    assert warning == ("1 trial failed: nan (1). The last one was t0010: loss is nan at step 3")
    failed = ended.ended_trials[-1]
    more = [*ended.ended_trials, *(replace(failed, trial=f"t9{n}", reason="oom") for n in (1, 2))]
    counts = {"search": 13, "confirmation": 0, "failed": 3}
    section = verdict_section(
        with_selection(replace(ended, ended_trials=more), trial_counts=counts)
    )
    [_, warning] = texts(section)
    assert warning.startswith("3 trials failed: oom (2), nan (1). The last one was t92: ")


def test_trials_that_ended_after_the_selection_are_pointed_out(ended: ReportData) -> None:
    fewer = {"search": 10, "confirmation": 0, "failed": 0}
    warning = texts(verdict_section(with_selection(ended, trial_counts=fewer)))[1]
    assert warning.startswith("The ledger has more trials than selection.json")


@pytest.mark.parametrize("is_old", [False, True])
def test_trials_that_confirm_are_no_later_trials(ended: ReportData, is_old: bool) -> None:
    """The ledger holds them too; an older selection.json counted those of the search alone."""
    again = replace(ended.ended_trials[0], trial="t0000-s1", confirms="t0000")
    data = replace(ended, ended_trials=[*ended.ended_trials, again])
    counts = {"search": 11, "confirmation": 1, "failed": 1}
    confirmation = [{"trials": ["t0000-s1"]}]
    selected = with_selection(
        data, confirmation=confirmation, trial_counts=None if is_old else counts
    )
    section = verdict_section(selected)
    assert not any("selected before" in text for text in texts(section))
    assert facts(section)["trials"].startswith(
        "12 trials: 11 of the search and 1 of the confirmation, 1 failed"
    )


def test_before_the_end_the_sentence_tells_the_progress(tmp_path: Path) -> None:
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(120))
    assert verdict_sentence(read_report_data(sweep.paths)) == (
        "Not ended yet: 0 of 12 trials have ended; nothing has been evaluated."
    )
    sweep.end(0)
    sweep.draw(1)
    data = read_report_data(sweep.paths)
    assert data.highlighted is not None
    trial, step = data.highlighted
    accuracy = max(e.accuracy(sweep.objective) for e in data.records[0].evaluations)
    assert verdict_sentence(data) == (
        "Not ended yet: 1 of 12 trials have ended, 1 is open. "
        f"Best so far: {trial} at step {step} with {100 * accuracy:.1f} % on the select split. "
        "This number is optimistic: it is the best of several on the same pairs."
    )


def test_while_nothing_moved_no_best_is_named(tmp_path: Path) -> None:
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(120), ["selection.min_margin=50"])
    sweep.end(0)
    sweep.draw(1)
    assert verdict_sentence(read_report_data(sweep.paths)).endswith(
        "1 is open. No checkpoint can win yet: none moved the model within the guardrails."
    )
