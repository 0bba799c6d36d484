"""The pure parts of the bench: arithmetic, the choice of pairs, the judgement of goals. No Ray."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from functools import partial

import pytest

from dpo_core.preferences import load_pairs, split_pairs
from tests.bench.flops import PairTokens, Shape, step_flops, visible
from tests.bench.pairs import WANTED, pick, write
from tests.bench.slope import slope_ratio
from tests.bench.table import Row, table
from tests.bench.turns import Loop, PassOn, alternate
from tests.support.toys import text_pair, toy_pairs

SHAPE = Shape(body=100, head=50, layers=2, attention_width=4)


def test_visible_by_hand() -> None:
    # Two prompt tokens see 1 + 2; the chosen token 2 + 1; the rejected two (2 + 1) + (2 + 2).
    assert visible(PairTokens(prompt=2, chosen=1, rejected=2)) == 3 + 3 + 7


@pytest.mark.parametrize(("full", "per_parameter"), [(False, 4), (True, 6)])
def test_step_flops_by_hand(full: bool, per_parameter: int) -> None:
    pair = PairTokens(prompt=2, chosen=1, rejected=2)
    products = per_parameter * (100 * 5 + 50 * 3)
    attention = 12 * 2 * 4 * 13  # 4 forward and 8 backward, by layer, width and visible pair
    assert step_flops(SHAPE, [pair], full=full) == products + attention
    assert step_flops(SHAPE, [pair] * 3, full=full) == 3 * (products + attention)


def test_picks_exactly_so_many_of_each_split(tmp_path) -> None:
    words = (hashlib.sha256(f"{n}".encode()).hexdigest()[:12] for n in range(400))
    picked, seed = pick([text_pair(f"May I take {word}?", "Ask.", "No.") for word in words], WANTED)
    read_back = load_pairs(str(write(picked, tmp_path / "pairs.jsonl")), split="train")
    assert [p.id for p in read_back] == [p.id for p in picked]
    splits = split_pairs(read_back, seed=seed, select_fraction=0.2, final_fraction=0.2)
    assert {name: len(getattr(splits, name)) for name in WANTED} == WANTED


def test_long_pairs_are_left_out() -> None:
    pairs = toy_pairs(400)
    limit = 120  # about half of them
    picked, _ = pick(pairs, {"train": 4, "select": 1, "final": 1}, most_characters=limit)
    for pair in picked:
        prompt, chosen, rejected = (
            side[0]["content"] for side in (pair.prompt, pair.chosen, pair.rejected)
        )
        assert len(prompt) + max(len(chosen), len(rejected)) <= limit


def test_a_file_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="larger file"):
        pick(toy_pairs(159), WANTED)


@pytest.mark.parametrize(
    ("row", "reached", "verdict"),
    [
        (Row("a", 5.0, 100.0, "s", "<=", 0.05), True, "yes"),
        (Row("a", 5.1, 100.0, "s", "<=", 0.05), False, "no"),
        (Row("a", 0.6, None, "", ">=", 0.6, "ours"), True, "yes"),
        (Row("a", 2.0, None, "%", "<", 2, "ours"), False, "no"),
        (Row("a", 0.0, None, "", "==", 0, "ours"), True, "yes"),
        (Row("a", 5.0, 100.0, "s"), None, ""),
        (Row("a", None, 100.0, "s", "<=", 0.05), None, ""),
        (Row("a", 1.0, 0.0, "s", "<=", 0.05), None, ""),
    ],
)
def test_goals(row: Row, reached: bool | None, verdict: str) -> None:
    assert row.reached is reached
    assert row.cells()[-1] == verdict
    assert row.as_dict()["reached"] is reached


def test_cells_and_table() -> None:
    rows = [
        Row("toy: makespan", 32.04, 1650.4, "s", "<=", 0.05),
        Row("start-up", 0.12, 11.0, "s", "<=", 0.5, "ours"),
    ]
    assert rows[0].cells() == ("toy: makespan", "32 s", "1650 s", "0.0194", "<= 0.05", "yes")
    assert rows[1].cells() == ("start-up", "0.12 s", "11 s", "0.0109", "<= 0.5 s", "yes")
    assert table(rows).row_count == 2


def _steps(steps: int, pass_on: PassOn) -> list[float]:
    began = []
    for _ in range(steps):
        began.append(time.monotonic())
        time.sleep(0.02)
        pass_on()
    return began


def _fail(pass_on: PassOn) -> None:
    raise ValueError("broken")


def _die(pass_on: PassOn) -> None:
    os._exit(1)


def test_turns_alternate_and_are_timed() -> None:
    first, second = alternate([partial(_steps, 2), partial(_steps, 3)])
    order = sorted([(at, 0) for at in first.result] + [(at, 1) for at in second.result])
    assert [number for _, number in order] == [0, 1, 0, 1, 1]
    assert [len(first.seconds), len(second.seconds)] == [2, 3]
    assert all(seconds >= 0.02 for seconds in first.seconds + second.seconds)


@pytest.mark.parametrize(("loop", "said"), [(_fail, "ValueError: broken"), (_die, "died")])
def test_an_error_of_one_loop_ends_both(loop: Loop, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        alternate([partial(_steps, 1000), loop])
    assert not multiprocessing.active_children()


def test_the_slope_compares_what_later_trials_add_with_what_earlier_ones_did() -> None:
    steady = [5.0 + 2 * n for n in range(64)]
    assert slope_ratio(steady) == pytest.approx(1)
    growing = [5.0 + 2 * n + 0.01 * n * n for n in range(64)]
    assert slope_ratio(growing) > 1.2
