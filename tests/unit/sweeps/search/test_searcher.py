"""Points for Tune: under names that survive a restart, drawn from what the ledger holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from search_spaces import Space
from sweeps.run_dir.ledger import TrialRecord
from sweeps.search.drawn_point import DrawnPoint
from sweeps.search.next_point import Search
from sweeps.search.searcher import FixedPoints, SweepSearch
from tests.support.searched_trials import BRANCHED, FLAT, OBJECTIVE, POINT, ended


def searcher(
    records: list[TrialRecord] | None = None,
    space: Space = FLAT,
    sampler: str = "tpe",
    **changes: Any,
) -> SweepSearch:
    task = Search(space, sampler, 0, 8, OBJECTIVE)
    given = {"first_number": 0, "on_draw": lambda _: None, **changes}
    return SweepSearch(task, [] if records is None else records, **given)


def accuracy(point: dict[str, Any]) -> float:
    """Best at β = 0.1 and a learning rate of 1e-5."""
    beta, rate = math.log(point["beta"] / 0.1), math.log(point["learning_rate"] / 1e-5)
    return 1 / (1 + beta**2 + rate**2)


def run(
    search: SweepSearch, count: int, records: list[TrialRecord], start: int = 0
) -> list[dict[str, Any]]:
    """What Tune and the ledger's callback do, trial after trial."""
    suggestions = []
    for number in range(start, start + count):
        suggested = search.suggest(f"id{number}")
        assert isinstance(suggested, dict)
        suggestions.append(suggested)
        search.on_trial_complete(f"id{number}", {"anything": 1})
        correct = round(8 * accuracy(suggested["point"]))
        records.append(ended(suggested["trial"], suggested["point"], correct))
    return suggestions


def test_names_count_up_and_every_draw_is_announced_once() -> None:
    drawn: list[DrawnPoint] = []
    suggestions = run(searcher(on_draw=drawn.append), 3, [])
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
    records = [ended("t0000", POINT, 7), ended("t0002", {**POINT, "beta": 0.3}, 6)]
    # Values that decimal text or a logarithm would not give back.
    odd = {**POINT, "beta": 0.1 + 0.2, "learning_rate": 1e-6, "ld_alpha": 1 / 3}
    unfinished = [
        DrawnPoint("t0001", odd, 0),
        DrawnPoint("t0003", {**POINT, "length_norm": "none"}, 0),
    ]
    search = searcher(records, unfinished=unfinished, first_number=4)
    suggestions = run(search, 4, records)
    assert [s["trial"] for s in suggestions] == ["t0001", "t0003", "t0004", "t0005"]
    assert suggestions[0]["point"] == odd
    assert suggestions[1]["point"] == unfinished[1].point


@pytest.mark.parametrize("stop", [1, 3, 6])
@pytest.mark.parametrize("space", [FLAT, BRANCHED])
def test_an_interrupted_sweep_draws_the_points_of_an_uninterrupted_one(
    space: Space, stop: int
) -> None:
    records: list[TrialRecord] = []
    whole = run(searcher(records, space), 8, records)
    # One trial more was under way when the sweep stopped.
    kept, open_ = records[:stop], DrawnPoint(**whole[stop])
    resumed = searcher(kept, space, unfinished=[open_], first_number=stop + 1)
    assert run(resumed, 8 - stop, kept) == whole[stop:]
    assert kept == records


def test_trials_under_way_are_known_and_confirmations_teach_nothing() -> None:
    records = [ended("t0000", POINT, 7)]
    search = searcher(records, first_number=1)
    search.suggest("a")
    search.suggest("b")
    history = search._history()
    assert [record.trial for record in history.ended] == ["t0000"]
    assert history.running == [search.suggest(name)["point"] for name in "ab"]
    records.append(ended("t0001", search.suggest("a")["point"], 5))
    assert search._history().running == [search.suggest("b")["point"]]


def test_an_exhausted_space_ends_the_search() -> None:
    space = Space.parse({"beta": {"choice": [0.1, 0.3]}, "learning_rate": 1e-5})
    records: list[TrialRecord] = []
    search = searcher(records, space)
    points = [s["point"]["beta"] for s in run(search, 2, records)]
    assert sorted(points) == [0.1, 0.3]
    assert search.suggest("c") == SweepSearch.FINISHED


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


def test_nothing_is_pickled(tmp_path: Path) -> None:
    searcher().save(str(tmp_path / "searcher.pkl"))
    assert list(tmp_path.iterdir()) == []
