"""What a sweep tells: lines, a leaderboard and a verdict; a user's text is never markup."""

from __future__ import annotations

import pytest

from sweeps.cli.terminal import (
    Progress,
    confirmation,
    failures,
    leaderboard,
    nights,
    show_point,
    show_value,
    winner,
)
from sweeps.trials.events import TrialEvent
from tests.support.records import REWARD, evaluation, trial
from tests.support.selections import FAILED, POINT, a_selection, candidate, text_of


def progress(**changes) -> Progress:
    return Progress(**{"steps": 8, "objective": REWARD, **changes})


def event(kind: str, **changes) -> TrialEvent:
    return TrialEvent(kind, **{"trial": "t0000", "point": POINT, **changes})


def test_the_leaderboard_is_best_first() -> None:
    shown = text_of(leaderboard(a_selection()))
    lines = shown.splitlines()
    assert f"3 trials, by {REWARD} on the select split" in shown
    order = [next(i for i, line in enumerate(lines) if t in line) for t in ("t0001", "t0000")]
    assert order == sorted(order)
    assert all(part in lines[order[0]] for part in ("0.750", "8", "0.123", "2.5e-06", "-0.080"))
    failed = next(line for line in lines if "t0002" in line)
    assert "failed: nan" in failed
    assert "0." not in failed.replace("0.1", "")  # neither an accuracy nor a drift


def test_a_drift_that_rounds_to_nothing_has_no_minus() -> None:
    assert format(-0.0, "+.3f") == format(-0.0004, "+.3f") == "-0.000"
    for drift in (-0.0, -0.0004, 0.0):
        selection = a_selection()
        selection["trials"][0]["drift_chosen"] = drift
        shown = text_of(leaderboard(selection))
        assert "+0.000" in shown
        assert "-0.000" not in shown


@pytest.mark.parametrize("promoted", [True, False])
def test_a_star_is_explained_where_there_is_one(promoted: bool) -> None:
    night = {"night": "2026-11-29", "verdict": None, "promoted": promoted, "control": None}
    scores = {"final": None, "incumbent_final": None, "trials": 1, "failed": 0, "worker_hours": 1.0}
    assert text_of(nights([{**night, **scores}])).count("*") == 2 * promoted


def table_rows(selection: dict, **changes) -> list[list[str]]:
    """Return the cells of each row of the leaderboard, without its lines."""
    lines = text_of(leaderboard(selection, **changes)).splitlines()
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│ t0" in line]


@pytest.mark.parametrize(
    ("trial_name", "label"),
    [("t0000", "winner, step 4"), ("t0000-s2", "winner as t0000-s2, step 4")],
)
def test_the_winner_is_the_first_row_and_marked(trial_name: str, label: str) -> None:
    """Also when a more accurate trial drifted too far to win, and when the table is cut."""
    won = {**a_selection()["winner"], "trial": trial_name, "step": 4}
    selection = a_selection(winner=won)
    rows = table_rows(selection)
    assert [row[0] for row in rows] == ["t0000", "t0001", "t0002"]
    assert rows[0][-1].startswith(f"{label}; finished")
    assert not any("winner" in row[-1] for row in rows[1:])
    assert [row[0] for row in table_rows(selection, rows=1)] == ["t0000"]


def test_without_a_winner_no_row_is_marked() -> None:
    rows = table_rows(a_selection(winner=None))
    assert [row[0] for row in rows] == ["t0001", "t0000", "t0002"]
    assert not any("winner" in cell for row in rows for cell in row)


def test_the_leaderboard_says_what_excludes() -> None:
    lines = text_of(leaderboard(a_selection())).splitlines()
    excluded = next(line for line in lines if "t0000" in line)
    assert "finished; excluded: displaced" in excluded
    warned = next(line for line in lines if "t0001" in line)
    assert "excluded" not in warned


def test_a_long_leaderboard_is_cut() -> None:
    rows = [{**a_selection()["trials"][0], "trial": f"t{i:04d}"} for i in range(30)]
    shown = text_of(leaderboard(a_selection(trials=rows), rows=5))
    assert "30 trials" in shown
    assert "t0004" in shown
    assert "t0005" not in shown


def test_axes_that_exist_in_some_trials_only_have_a_column() -> None:
    rows = a_selection()["trials"]
    rows[1]["point"] = {"beta": 0.2, "gamma_ratio": 0.4375}
    shown = text_of(leaderboard(a_selection(trials=rows)))
    assert "gamma_ratio" in shown
    assert "0.438" in shown


def test_the_winner_stands_beside_the_untouched_model() -> None:
    shown = text_of(winner(a_selection()))
    assert "winner: t0001 at step 8" in shown
    assert "beta=0.123  learning_rate=2.5e-06  length_norm=mean" in shown
    assert "/sweeps/hh-1/best" in shown
    for split in ("select", "final"):
        line = next(line for line in shown.splitlines() if f" {split} " in line)
        assert "3 + ½·1 of 5" in line
        assert "0.700" in line
        assert "0.246 to 0.968" in line
        assert "0.500" in line
    for name, accuracy in (("token_reward_accuracy", "0.400"), ("likelihood_accuracy", "0.500")):
        line = next(line for line in shown.splitlines() if name in line)
        assert accuracy in line


def test_a_guardrail_that_only_warns_is_told_of_the_winner() -> None:
    assert "drift_chosen is 0.7, over its limit 0.5" in text_of(winner(a_selection()))
    sound = a_selection(candidates=[candidate("t0001", 8)])
    assert "over its limit" not in text_of(winner(sound))


def test_text_of_a_user_is_not_markup() -> None:
    odd = a_selection()
    odd["winner"]["path"] = "/sweeps/[bold]x[/y]/best"
    odd["trials"][2]["reason"] = "[red]odd[/]"
    assert "/sweeps/[bold]x[/y]/best" in text_of(winner(odd))
    assert "failed: [red]odd[/]" in text_of(leaderboard(odd))


def test_failures_are_one_sentence_or_none() -> None:
    assert failures(a_selection()) == (
        "1 of 3 trials failed: t0002: nan ([red]loss[/red] is nan at [/x])"
    )
    assert failures(a_selection(trials=a_selection()["trials"][:2])) is None


def test_values_for_a_reader() -> None:
    assert show_point({"beta": 0.1 + 0.2, "lora_rank": 16, "length_norm": "none"}) == (
        "beta=0.3  lora_rank=16  length_norm=none"
    )
    assert [show_value(v) for v in (1e-6, 12345.678, None, True)] == [
        "1e-06",
        "1.23e+04",
        "None",
        "True",
    ]


def evaluated(accuracy: float, step: int, **changes: object) -> dict[str, object]:
    """Return the metrics of an evaluation as a worker reports them."""
    numbers = {"accuracy": accuracy, "global_step": step, "loss": 0.5, "drift": 0.2}
    return {**numbers, "chosen_gain": -0.2, "violations": {}, **changes}


def test_progress_is_a_line_an_event_with_the_best_so_far(messages: list[str]) -> None:
    lines = progress()
    metrics = evaluated(0.6, 4, loss=0.69314)
    lines.on_event(event("started"))
    lines.on_event(event("evaluated", metrics=metrics))
    worse = evaluated(0.55, 8)
    lines.on_event(event("evaluated", trial="t0001", metrics=worse))
    record = trial("t0000", evaluation(8, 12))
    lines.on_event(event("finished", record=record, progress="1 of 3 trials"))
    assert messages == [
        "t0000 started   beta=0.123  learning_rate=2.5e-06  length_norm=mean",
        f"t0000 step 4/8   {REWARD} 0.600   loss 0.6931   best 0.600 t0000 step 4",
        f"t0001 step 8/8   {REWARD} 0.550   loss 0.5000   best 0.600 t0000 step 4",
        "t0000 finished   (1 of 3 trials)",
    ]


def test_the_best_so_far_is_ranked_as_everywhere(messages: list[str]) -> None:
    lines = progress(steps=None)
    for trial_name, accuracy, step, changes in (
        ("t0000", 0.6, 4, {"chosen_gain": -0.3}),
        ("t0001", 0.6, 8, {"chosen_gain": -0.1}),  # as accurate, and its chosen answers lost less
        ("t0002", 0.6, 2, {"chosen_gain": -0.2}),
        ("t0003", 0.9, 2, {"violations": {"moved": 0.4}}),  # it did nothing
    ):
        metrics = evaluated(accuracy, step, **changes)
        lines.on_event(event("evaluated", trial=trial_name, metrics=metrics))
    assert [message.rpartition("best ")[2] for message in messages] == [
        "0.600 t0000 step 4",
        "0.600 t0001 step 8",
        "0.600 t0001 step 8",
        "0.600 t0001 step 8",
    ]


def test_before_a_checkpoint_can_win_the_line_says_what_they_lack(messages: list[str]) -> None:
    lines = progress()
    violations = {"moved": 0.4, "accuracy": -0.2, "guardrails": 0.1}
    lines.on_event(event("evaluated", metrics=evaluated(0.9, 4, violations=violations)))
    end = "none can win yet: moved too little, over a guardrail's limit"
    assert messages[0].endswith(end)


def test_progress_without_a_known_number_of_steps(messages: list[str]) -> None:
    lines = progress(steps=None)
    metrics = evaluated(0.6, 4)
    lines.on_event(event("evaluated", metrics=metrics))
    assert "t0000 step 4   " in messages[0]


def test_a_failure_is_told_as_it_was_written(messages: list[str]) -> None:
    lines = progress()
    lines.on_event(event("failed", trial="t0002", record=FAILED, progress="1 of 3 trials"))
    assert "t0002 failed: nan, [red]loss[/red] is nan at [/x]   (1 of 3 trials)" in messages[0]


def test_what_new_seeds_said() -> None:
    assert confirmation(a_selection()) is None
    point = {
        "trial": "t0001",
        "step": 8,
        "seeds": [11, 12],
        "mean": 0.6512,
        "spread": 0.0213,
        "search_score": 0.7,
        "missing": [{"trial": "t0001-s3", "reason": "[b]nan[/b]", "detail": "step 2"}],
    }
    unconfirmed = {
        **point,
        "trial": "t0000",
        "mean": None,
        "spread": None,
        "counted": [True, False],
    }
    one = text_of(confirmation(a_selection(confirmation=[point])))
    assert "1 point trained again with new seeds, by their means" in one
    shown = text_of(confirmation(a_selection(confirmation=[point, unconfirmed])))
    assert "2 points trained again with new seeds, by their means" in shown
    row = next(line for line in shown.splitlines() if line.strip("│┃ ").startswith("t0001"))
    assert row.strip("│ ").replace("│", " ").split() == [
        *("t0001", "8", "0.700", "0.651", "0.021", "2", "t0001-s3:", "[b]nan[/b]")
    ]
    row = next(line for line in shown.splitlines() if "t0000" in line)
    assert row.strip("│ ").replace("│", " ").split()[3:8] == ["-", "-", "1", "of", "2"]
