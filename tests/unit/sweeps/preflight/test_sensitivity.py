"""What held-out pairs can show, by hand, and in words."""

from __future__ import annotations

import numpy as np
import pytest

from sweeps.preflight.sensitivity import sensitivity, sensitivity_lines
from sweeps.selection.statistics import Groups
from tests.support.groups import alone


def verdict_line(final: Groups) -> str:
    _, verdict = sensitivity_lines({"select": sensitivity(alone(50)), "final": sensitivity(final)})
    return verdict


def test_two_hundred_pairs_by_hand() -> None:
    shown = sensitivity(alone(200))
    assert (shown["pairs"], shown["groups"], shown["design_effect"]) == (200, 200, 1.0)
    assert shown["standard_error"] == pytest.approx(0.0353553, abs=1e-7)  # ½ / √200
    gain = shown["detectable_gain"]
    assert gain["reference"] == pytest.approx(0.0990510, abs=1e-7)  # 2.8 · ½ / √200
    assert gain["incumbent"] == pytest.approx(0.0626453, abs=1e-7)  # 2.8 · √(0.1 / 200)


def test_groups_of_four_by_hand() -> None:
    shown = sensitivity(Groups(np.arange(200) // 4))
    assert (shown["groups"], shown["design_effect"]) == (50, 2.5)
    assert shown["standard_error"] == pytest.approx(0.0559017, abs=1e-7)  # ½ · √(2.5 / 200)
    assert shown["detectable_gain"]["reference"] == pytest.approx(0.1566134, abs=1e-7)


def test_lines_name_what_is_counted() -> None:
    select, final = Groups(np.arange(40) // 2), alone(200)
    choosing, verdict = sensitivity_lines(
        {"select": sensitivity(select), "final": sensitivity(final)}
    )
    assert choosing == (
        "choosing: one accuracy has a standard error of 9.7 points on 40 select pairs in 20 groups of "
        "near-duplicate prompts (taken to correlate by 0.5)"
    )
    assert verdict == (
        "verdict: 200 final pairs show, four times in five, gains of 9.9 points over the reference, "
        "and of 6.3 over an incumbent that ranks 10 % of pairs differently"
    )


def test_declared_openings_are_counted() -> None:
    _, line = sensitivity_lines(
        {"select": sensitivity(alone(50)), "final": sensitivity(alone(200), 30)}
    )
    assert line.startswith(
        "verdict: 200 final pairs, declared for 30 openings, show, four times in five, gains of 14.1 "
        "points over the reference, and of 8.9 over "
    )
    _, line = sensitivity_lines(
        {"select": sensitivity(alone(50)), "final": sensitivity(alone(10), 30)}
    )
    assert "10 final pairs, declared for 30 openings, can show nothing, as no 10 groups" in line


def test_few_pairs_say_what_they_can_show() -> None:
    assert verdict_line(alone(2)) == (
        "verdict: 2 final pairs can show nothing, as no 5 groups can; it takes 8 or more"
    )
    assert "250 final pairs in 5 groups of near-duplicate prompts" in verdict_line(
        Groups(np.arange(250) // 50)
    )
    assert verdict_line(alone(1)).startswith("verdict: 1 final pair can show nothing, as no 5")
    assert verdict_line(alone(7)) == ("verdict: 7 final pairs can show nothing; it takes 8 or more")
    assert verdict_line(alone(40)).endswith(
        "gains of 22.1 points over the reference, and none over an incumbent that ranks 10 % of pairs "
        "differently: that takes 79"
    )
