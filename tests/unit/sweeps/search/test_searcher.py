"""Points: inside the space, the same for a seed, under names that survive a restart."""

from __future__ import annotations

import math
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search_spaces import Space
from sweeps.search.drawn_point import DrawnPoint
from sweeps.search.searcher import FixedPoints, SweepSearch, _draw_from, make_sampler
from sweeps.search.study import METRIC, publish
from tests.support.searched_trials import BRANCHED, FLAT, OBJECTIVE, POINT, ended


def searcher(space: Space = FLAT, sampler: str = "tpe", seed: int = 0, **changes) -> SweepSearch:
    known = {"finished": (), "unfinished": (), "first_number": 0, "on_draw": lambda _: None}
    return SweepSearch(
        space,
        make_sampler(sampler, space, seed),
        objective=OBJECTIVE,
        seed=seed,
        **{**known, **changes},
    )


def accuracy(point: dict) -> float:
    """Best at β = 0.1 and a learning rate of 1e-5."""
    beta, rate = math.log(point["beta"] / 0.1), math.log(point["learning_rate"] / 1e-5)
    return 1 / (1 + beta**2 + rate**2)


def run(search: SweepSearch, count: int, start: int = 0) -> list[dict]:
    """What Tune does, trial after trial."""
    suggestions = []
    for number in range(start, start + count):
        suggestions.append(search.suggest(f"id{number}"))
        value = accuracy(suggestions[-1]["point"])
        for step in (1, 2):
            search.on_trial_result(f"id{number}", {METRIC: value, "training_iteration": step})
        search.on_trial_complete(f"id{number}", {METRIC: value})
    return suggestions


def study_of(search: SweepSearch) -> optuna.Study:
    return search._ot_study


@pytest.mark.parametrize(
    ("space", "sampler", "trials"),
    [
        (FLAT, "random", 30),
        (FLAT, "tpe", 30),
        (FLAT, "gp", 12),  # it starts with ten random ones
        (BRANCHED, "tpe", 40),
        (BRANCHED, "random", 30),
    ],
)
def test_every_point_lies_in_the_space(space: Space, sampler: str, trials: int) -> None:
    points = [s["point"] for s in run(searcher(space, sampler), trials)]
    assert [space.why_not(point) for point in points] == [None] * trials
    assert {point["length_norm"] for point in points} == {
        *space.axis_of_keys()["length_norm"].values
    }


class RoundsUp:
    """An Optuna trial whose exp(log(high)) lies one rounding above `high`."""

    def suggest_float(self, key: str, low: float, high: float, log: bool) -> float:
        return math.nextafter(high, math.inf)

    def suggest_categorical(self, key: str, values: tuple) -> object:
        return values[0]


def test_one_rounding_beyond_a_bound_is_brought_back() -> None:
    point = FLAT.sample(_draw_from(RoundsUp()))
    assert point == {"beta": 0.5, "learning_rate": 1e-4, "ld_alpha": 1.0, "length_norm": "none"}


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_a_seed_is_a_sequence_of_points(sampler: str) -> None:
    first, again, other = (run(searcher(sampler=sampler, seed=s), 12) for s in (7, 7, 8))
    assert first == again
    assert first[0]["point"] != other[0]["point"]
    assert len({s["point"]["beta"] for s in first}) == 12


def test_tpe_learns_from_what_was_reported() -> None:
    points = [s["point"] for s in run(searcher(), 40)]
    late, early = (sum(map(accuracy, p)) for p in (points[-10:], points[:10]))
    assert late > early


def test_names_count_up_and_every_draw_is_announced_once() -> None:
    drawn: list[DrawnPoint] = []
    suggestions = run(searcher(on_draw=drawn.append), 3)
    assert [s["trial"] for s in suggestions] == ["t0000", "t0001", "t0002"]
    assert [d.as_dict() for d in drawn] == suggestions
    assert {d.seed for d in drawn} == {0}


def test_asking_twice_for_a_trial_gives_the_same_answer() -> None:
    drawn: list[DrawnPoint] = []
    search = searcher(on_draw=drawn.append)
    once, twice, next_one = search.suggest("a"), search.suggest("a"), search.suggest("b")
    assert once == twice
    assert (once["trial"], next_one["trial"]) == ("t0000", "t0001")
    assert len(drawn) == 2
    once["point"]["beta"] = 99.0  # a caller's own copy
    assert search.suggest("a") == twice


def test_a_resumed_sweep_first_runs_what_was_open_then_counts_on() -> None:
    finished = [ended("t0000", POINT, 7), ended("t0002", {**POINT, "beta": 0.3}, 6)]
    # Values that decimal text or a logarithm would not give back.
    odd = {**POINT, "beta": 0.1 + 0.2, "learning_rate": 1e-6, "ld_alpha": 1 / 3}
    unfinished = [
        DrawnPoint("t0001", odd, 0),
        DrawnPoint("t0003", {**POINT, "length_norm": "none"}, 0),
    ]
    search = searcher(finished=finished, unfinished=unfinished, first_number=4)
    suggestions = run(search, 4)
    assert [s["trial"] for s in suggestions] == ["t0001", "t0003", "t0004", "t0005"]
    assert suggestions[0]["point"] == odd
    assert suggestions[1]["point"] == unfinished[1].point


def test_open_points_of_a_branched_space_come_back_exactly() -> None:
    points = [s["point"] for s in run(searcher(BRANCHED, "random"), 12)]
    assert {"gamma_ratio" in point for point in points} == {True, False}
    unfinished = [DrawnPoint(f"t{i:04d}", p, 5) for i, p in enumerate(points)]
    again = searcher(BRANCHED, seed=5, unfinished=unfinished)
    assert [s["point"] for s in run(again, 12)] == points


def test_what_the_ledger_knows_is_in_the_study() -> None:
    finished = [
        ended("t0000", POINT, 7, 5),
        ended("t0001", POINT, 8, status="failed"),
        ended("t0002", POINT, status="failed"),
        ended("t0003", POINT, 6, status="stopped"),
    ]
    trials = study_of(searcher(finished=finished)).get_trials()
    complete, fail = TrialState.COMPLETE, TrialState.FAIL
    assert [t.state for t in trials] == [complete, fail, fail, complete]
    # the best of a trial's checkpoints: (7 + 1/2) / 10, not the last
    assert [t.value for t in trials] == [0.75, None, None, 0.65]
    assert trials[0].params == POINT
    assert trials[0].intermediate_values == {4: 0.75, 8: 0.55}
    assert trials[1].user_attrs == {"trial": "t0001", "status": "failed", "reason": None}


def test_the_ledgers_trials_spare_a_new_study_its_random_start() -> None:
    grid = [{**POINT, "beta": 0.01 * i, "learning_rate": 1e-5} for i in range(1, 31)]
    good = [ended(f"t{i:04d}", p, round(8 * accuracy(p))) for i, p in enumerate(grid)]
    taught = run(searcher(finished=good, seed=3), 5)
    fresh = run(searcher(seed=3), 5)
    assert [s["point"] for s in taught] != [s["point"] for s in fresh]
    assert sum(accuracy(s["point"]) for s in taught) > sum(accuracy(s["point"]) for s in fresh)


def test_fixed_points_are_handed_out_once_and_in_order() -> None:
    points = [DrawnPoint("t0001-s1", POINT, 11), DrawnPoint("t0000-s1", {**POINT, "beta": 0.3}, 11)]
    drawn: list[DrawnPoint] = []
    search = FixedPoints(points, drawn.append)
    first = search.suggest("a")
    assert search.suggest("a") == first == points[0].as_dict()
    search.on_trial_complete("a", error=True)
    assert search.suggest("b") == points[1].as_dict()
    assert search.suggest("c") == FixedPoints.FINISHED
    assert drawn == points


def test_results_without_the_metric_are_passed_over() -> None:
    search = searcher()
    search.suggest("a")
    search.on_trial_result("a", {"training_iteration": 1})
    search.on_trial_complete("a", error=True)
    assert [t.state for t in study_of(search).get_trials()] == [TrialState.FAIL]


def test_nothing_is_pickled(tmp_path: Path) -> None:
    searcher().save(str(tmp_path / "searcher.pkl"))
    assert list(tmp_path.iterdir()) == []


BOTH = ("accuracy", "drift")


def drift(point: dict) -> float:
    """Grows with the learning rate, which accuracy does not want to be lowest."""
    return point["learning_rate"] / 1e-4


def run_both(search: SweepSearch, count: int) -> list[dict]:
    points = []
    for number in range(count):
        points.append(search.suggest(f"id{number}")["point"])
        told = {METRIC: accuracy(points[-1]), "best_drift": drift(points[-1])}
        search.on_trial_result(f"id{number}", {**told, "training_iteration": 1})
        search.on_trial_complete(f"id{number}", told)
    return points


@pytest.mark.parametrize(
    ("space", "sampler", "trials"),
    [
        (FLAT, "tpe", 20),
        (BRANCHED, "tpe", 20),
        (FLAT, "gp", 11),
        (FLAT, "nsga2", 20),
        (BRANCHED, "nsga2", 20),
        (FLAT, "random", 20),
    ],
)
def test_two_objectives(space: Space, sampler: str, trials: int) -> None:
    search = searcher(space, sampler, objectives=BOTH)
    points = run_both(search, trials)
    assert [space.why_not(point) for point in points] == [None] * trials
    study = study_of(search)
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [t.values for t in study.get_trials()] == [[accuracy(p), drift(p)] for p in points]
    assert run_both(searcher(space, sampler, objectives=BOTH), trials) == points


def dominated_area(points: list[dict]) -> float:
    """What the points' front leaves below it, from the corner of no accuracy and a drift of 1."""
    area, reached = 0.0, 1.0
    for value, far in sorted(((accuracy(p), drift(p)) for p in points), reverse=True):
        area, reached = area + value * max(0.0, reached - far), min(reached, far)
    return area


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_sampler_of_two_objectives_learns_from_both(sampler: str) -> None:
    """Later points press against the front: more of them are on it than of the early ones."""
    count = 60
    kind = make_sampler(sampler, FLAT, 1, count)
    search = SweepSearch(
        FLAT,
        kind,
        finished=(),
        unfinished=(),
        objective=OBJECTIVE,
        first_number=0,
        seed=1,
        on_draw=lambda _: None,
        objectives=BOTH,
    )
    points = run_both(search, count)
    half = count // 2

    def merit(some: list[dict]) -> float:
        return sum(accuracy(p) - drift(p) for p in some)

    assert merit(points[half:]) > merit(points[:half])
    assert dominated_area(points) > dominated_area(points[:half])


def test_failed_and_silent_trials_of_two_objectives_end_in_the_study() -> None:
    search = searcher(objectives=BOTH)
    for name in "abc":
        search.suggest(name)
    search.on_trial_complete("a", error=True)
    search.on_trial_complete("b", {"training_iteration": 1})
    search.on_trial_complete("c", {METRIC: 0.6, "best_drift": 0.2})
    states = [t.state for t in study_of(search).get_trials()]
    assert states == [TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE]


def test_the_ledger_and_the_published_study_know_both_objectives(tmp_path: Path) -> None:
    finished = [ended("t0000", POINT, 7, 8), ended("t0001", POINT, 8, status="failed")]
    expected = [[0.85, 0.2], None]  # the best checkpoint's accuracy, and its own drift
    trials = study_of(searcher(finished=finished, objectives=BOTH)).get_trials()
    assert [t.values for t in trials] == expected
    file = tmp_path / "study.db"
    for upto in (1, 2, 2):
        publish(file, "hh-1", FLAT, finished[:upto], OBJECTIVE, BOTH)
    study = optuna.load_study(study_name="hh-1", storage=f"sqlite:///{file}")
    assert [t.values for t in study.trials] == expected
    assert [t.user_attrs["trial"] for t in study.best_trials] == ["t0000"]


def test_a_resumed_genetic_search_breeds_from_the_ledger() -> None:
    """Children take each coordinate from a parent, or mutate: fresh random points would not."""
    rates = [10 ** (-6 + 2 * i / 7) for i in range(8)]
    known = [
        ended(f"t{i:04d}", {**POINT, "learning_rate": rate}, 3 + i) for i, rate in enumerate(rates)
    ]
    children = run_both(searcher(sampler="nsga2", finished=known, objectives=BOTH), 8)
    inherited = sum(
        child["beta"] == POINT["beta"] or child["ld_alpha"] == POINT["ld_alpha"]
        for child in children
    )
    assert inherited >= 4
