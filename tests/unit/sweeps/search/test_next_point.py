"""The next point: inside the space, new, and the same whatever was interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from search_spaces import Choice, LogUniform, Space, Uniform
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord
from sweeps.search.next_point import History, Search, _draw_from, next_point
from sweeps.search.samplers import starting_point, starting_points, value_at
from tests.support.searched_trials import BRANCHED, FLAT, OBJECTIVE

SAMPLERS = ["tpe", "gp", "random", "nsga2"]
SMALL = Space.parse(
    {
        "length_norm": {"choice": ["none", "mean", "simpo"]},
        "beta": {"choice": [0.1, 0.3]},
        "gamma_ratio": {"choice": [0.1, 0.5], "when": {"length_norm": "simpo"}},
    }
)
BOTH = ("accuracy", "drift")


def search(sampler: str = "tpe", space: Space = FLAT, seed: int = 0, trials: int = 8) -> Search:
    objectives = BOTH if sampler == "nsga2" else ("accuracy",)
    return Search(space, sampler, seed, trials, OBJECTIVE, objectives)


def accuracy(point: dict[str, Any]) -> float:
    """Best at β = 0.1 and a learning rate of 1e-5."""
    beta = math.log(point["beta"] / 0.1)
    rate = math.log(point.get("learning_rate", 1e-5) / 1e-5)
    return 1 / (1 + beta**2 + rate**2)


def record(
    number: int,
    point: dict[str, Any],
    value: float | None = None,
    status: str = "finished",
    **violations: float,
) -> TrialRecord:
    """An ended trial whose accuracy is that of its point, unless `value` is given."""
    correct = accuracy(point) if value is None else value
    health = {"drift_chosen": -0.1 * number, "drift_rejected": 0.05}
    counts = {OBJECTIVE: {"correct": correct, "ties": 0, "total": 1}}
    evaluation = EvaluationRecord(4, 0.6, counts, {}, health, violations)
    return TrialRecord(f"t{number:04d}", point, status, 0, (evaluation,))


def draws(
    task: Search,
    count: int,
    known: Sequence[TrialRecord] = (),
    outcome: Callable[[int, dict[str, Any]], TrialRecord] = record,
    concurrent: int = 1,
) -> list[dict[str, Any]]:
    """The points that a search goes on to draw, while its trials end in the order of their names."""
    ended, running, points = list(known), list[dict[str, Any]](), list[dict[str, Any]]()
    for number in range(len(known), count):
        if len(running) == concurrent:
            first = number - concurrent
            ended.append(outcome(first, running.pop(0)))
        point = next_point(task, number, History(ended, running))
        if point is None:
            break
        points.append(point)
        running.append(point)
    return points


@pytest.mark.parametrize(
    ("sampler", "space", "trials"),
    [
        ("random", FLAT, 30),
        ("tpe", FLAT, 30),
        ("gp", FLAT, 8),
        ("nsga2", FLAT, 20),
        ("tpe", BRANCHED, 40),
        ("random", BRANCHED, 30),
        ("nsga2", BRANCHED, 20),
    ],
)
def test_every_point_lies_in_the_space(sampler: str, space: Space, trials: int) -> None:
    points = draws(search(sampler, space), trials)
    assert [space.why_not(point) for point in points] == [None] * trials
    norms = space.axis_of_keys()["length_norm"]
    assert isinstance(norms, Choice)
    assert {point["length_norm"] for point in points} == set(norms.values)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_is_a_sequence_of_points(sampler: str) -> None:
    first, again, other = (draws(search(sampler, seed=seed), 7) for seed in (7, 7, 8))
    assert first == again
    assert not any(point in other for point in first)
    assert not any(point in first[:i] for i, point in enumerate(first))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("stop", [1, 3, 6])
def test_an_interrupted_search_draws_what_an_uninterrupted_one_draws(
    sampler: str, stop: int
) -> None:
    task = search(sampler)
    whole = draws(task, 8)
    known = [record(number, point) for number, point in enumerate(whole[:stop])]
    assert draws(task, 8, known) == whole[stop:]
    # The ledger holds trials in the order in which they ended.
    assert draws(task, 8, known[::-1]) == whole[stop:]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_so_it_does_with_trials_at_the_same_time_and_with_failures(sampler: str) -> None:
    def outcome(number: int, point: dict[str, Any]) -> TrialRecord:
        if number % 3 == 1:
            return record(number, point, status="failed")
        return record(number, point, guardrails=float(number % 2))

    task = search(sampler)
    whole = draws(task, 8, outcome=outcome, concurrent=3)
    ended = [outcome(number, point) for number, point in enumerate(whole[:4])]
    # Three trials run when the seventh point is drawn, before and after the interruption.
    assert next_point(task, 7, History([*ended, outcome(4, whole[4])], whole[5:7])) == whole[7]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_point_of_a_finite_space_is_drawn_twice(sampler: str, seed: int) -> None:
    assert SMALL.size == 8
    points = draws(search(sampler, SMALL, seed, 12), 12)
    assert len(points) == 8, "the space is exhausted"
    assert all(point not in points[:i] for i, point in enumerate(points))


def test_a_point_that_runs_is_not_drawn_again_either() -> None:
    space = Space.parse({"beta": {"choice": [0.1, 0.3]}, "learning_rate": 1e-5})
    one, two = space.points()
    assert next_point(search("tpe", space), 1, History(running=[one])) == two
    assert next_point(search("tpe", space), 2, History(running=[one, two])) is None


def test_a_bound_that_a_model_prefers_is_trained_once() -> None:
    """The best point is a corner, which a Gaussian process proposes again and again."""
    space = Space.parse({"beta": {"log_uniform": [0.01, 0.1]}})
    points = draws(search("gp", space), 9)
    assert sum(point["beta"] == 0.1 for point in points) == 1
    assert len({point["beta"] for point in points}) == 9


def test_a_night_begins_with_other_points_than_the_night_before() -> None:
    monday = draws(search(), 4)
    earlier = [replace(record(i, p), trial=f"monday/t{i:04d}") for i, p in enumerate(monday[:3])]
    assert next_point(search(), 0, History(earlier=earlier)) == monday[3]


def test_few_trials_are_drawn_before_a_model_chooses() -> None:
    task = search("gp")
    start = [starting_point(FLAT, 0, number) for number in range(8)]
    points = draws(task, 6)
    assert points[:4] == start[:4]
    assert points[4] != start[4]
    # While none of the first has ended, there is nothing that a model could learn from.
    assert draws(task, 8, concurrent=8) == start


def test_a_model_has_half_of_a_search() -> None:
    assert [starting_points(trials) for trials in (3, 8, 14, 16, 100)] == [4, 4, 7, 8, 8]


@pytest.mark.parametrize("seed", range(5))
def test_starting_points_come_from_different_parts(seed: int) -> None:
    points = [starting_point(FLAT, seed, number) for number in range(4)]
    for key, axis in FLAT.axis_of_keys().items():
        if isinstance(axis, Choice):
            assert sorted(p[key] for p in points) == ["mean", "mean", "none", "none"]
        else:
            edges = [value_at(axis, i / 4) for i in (1, 2, 3)]
            assert sorted(int(np.searchsorted(edges, p[key])) for p in points) == [0, 1, 2, 3]


def test_values_at_shares_of_an_axis() -> None:
    assert value_at(Uniform(1, 3), 0.25) == 1.5
    assert value_at(LogUniform(1e-6, 1e-4), 0.5) == pytest.approx(1e-5)
    assert value_at(LogUniform(1e-6, 1e-4), 0.0) == pytest.approx(1e-6)
    assert [value_at(Choice(["a", "b"]), share) for share in (0.0, 0.49, 0.5, 0.99)] == [*"aabb"]


class RoundsUp:
    """An Optuna trial whose exp(log(high)) lies one rounding above `high`."""

    def suggest_float(self, key: str, low: float, high: float, log: bool) -> float:
        return math.nextafter(high, math.inf)

    def suggest_categorical(self, key: str, values: tuple) -> object:
        return values[0]


def test_one_rounding_beyond_a_bound_is_brought_back() -> None:
    point = FLAT.sample(_draw_from(RoundsUp()))
    assert point == {"beta": 0.5, "learning_rate": 1e-4, "ld_alpha": 1.0, "length_norm": "none"}


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_search_learns_from_what_trials_showed(sampler: str) -> None:
    count = 24 if sampler == "tpe" else 12
    points = draws(search(sampler), count)
    half = count // 2
    assert sum(map(accuracy, points[half:])) > sum(map(accuracy, points[:half]))


RATE = Space.parse({"learning_rate": {"log_uniform": [1e-6, 1e-2]}, "beta": 0.1})


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
@pytest.mark.parametrize(
    ("status", "violations"),
    [("failed", {}), ("finished", {"guardrails": 1.0}), ("finished", {"moved": 0.3})],
)
def test_trials_that_cannot_win_keep_the_search_away(
    sampler: str, status: str, violations: dict[str, float]
) -> None:
    """Accuracy rises with the learning rate; beyond 1e-3, trials end like that."""
    rates = [10 ** (-6 + 3.9 * i / 9) for i in range(10)]

    def beyond_the_cliff(status: str, violations: dict[str, float]) -> int:
        known = [
            record(
                number,
                {"learning_rate": rate, "beta": 0.1},
                0.5 + 0.05 * number,
                status if rate > 1e-3 else "finished",
                **(violations if rate > 1e-3 else {}),
            )
            for number, rate in enumerate(rates)
        ]
        task, count = search(sampler, RATE, trials=20), 2 if sampler == "gp" else 20
        drawn = (next_point(task, 10 + i, History(known)) for i in range(count))
        return sum(point is not None and point["learning_rate"] > 2e-3 for point in drawn) / count

    assert beyond_the_cliff(status, violations) <= 0.2
    assert beyond_the_cliff("finished", {}) >= 0.5


def test_a_genetic_search_breeds_from_what_can_win_and_from_all_that_is_known() -> None:
    """A child takes each coordinate from a parent, or mutates."""
    good = [{"beta": 0.01 * i, "learning_rate": 1e-5} for i in range(1, 5)]
    bad = [{"beta": 0.3 + 0.01 * i, "learning_rate": 1e-4} for i in range(1, 5)]
    space = Space.parse(
        {"beta": {"log_uniform": [0.01, 0.5]}, "learning_rate": {"log_uniform": [1e-6, 1e-4]}}
    )
    known = [record(i, p, 0.6) for i, p in enumerate(good)] + [
        record(4 + i, p, 0.9, guardrails=1.0) for i, p in enumerate(bad)
    ]
    task = search("nsga2", space)
    children = [next_point(task, 8 + i, History(known)) for i in range(12)]
    rates = [child["learning_rate"] for child in children if child is not None]
    assert sum(math.isclose(rate, 1e-5) for rate in rates) >= 6
    assert not any(math.isclose(rate, 1e-4) for rate in rates)
