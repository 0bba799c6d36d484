"""What is measured while a sweep runs, and that the dashboard of cluster/ asks for nothing else."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from sweeps.trials.metrics import OF_SWEEP, OF_TRIAL, TAGS, Rate, SweepMetrics, TrialMetrics
from sweeps.trials.progress import SweepProgress
from tests.support.repository import ROOT

BOARD = ROOT / "cluster" / "grafana" / "dpo-sweeps.json"


class Seen(dict[str, float]):
    """Stands where Ray's gauges are exported from: the last value by name and trial."""

    def gauge(self, name: str) -> Any:
        seen = self

        class Gauge:
            def set(self, value: float, tags: dict[str, str]) -> None:
                seen[" ".join([name, *tags.values()])] = value

        return Gauge()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    monkeypatch.setattr(
        "sweeps.trials.metrics._create_gauges",
        lambda about, tags: {n: found.gauge(n) for n in about},
    )
    return found


def test_what_is_not_known_yet_is_no_gauge(seen: Seen) -> None:
    metrics = SweepMetrics("s")
    metrics.show(SweepProgress(ended=0, trials=3), running=1)
    assert seen == {"trials_done s": 0, "trials_failed s": 0, "trials_running s": 1}, (
        "a best of zero would look like the worst model of all"
    )
    metrics.show(SweepProgress(3, 4, failed=1, best=0.6, seconds_left=50.0), running=1)
    assert seen == {
        "best_accuracy s": 0.6,
        "seconds_left s": 50.0,
        "trials_done s": 2,
        "trials_failed s": 1,
        "trials_running s": 1,
    }


def test_a_trial_that_has_ended_trains_nothing(seen: Seen) -> None:
    metrics = TrialMetrics("s", 8)
    metrics.rate.clock = itertools.count().__next__
    for loss in (0.7, 0.6):
        metrics.stepped("t0", loss)
    metrics.evaluated("t0", 0.75)
    assert seen == {"loss s t0": 0.6, "pairs_per_second s t0": 8, "accuracy s t0": 0.75}
    metrics.ended("t0")
    assert seen["pairs_per_second s t0"] == 0
    metrics.stepped("t1", 0.7)
    assert "pairs_per_second s t1" not in seen, "the time between two trials is nobody's step"


def test_the_rate_leaves_evaluations_out() -> None:
    times = iter([0.0, 2.0, 4.0, 1000.0, 1001.0])
    rate = Rate(6, clock=lambda: next(times))
    assert [rate.step(), rate.step(), rate.step()] == [None, 3.0, 3.0]
    rate.pause()
    assert [rate.step(), rate.step()] == [None, 6.0]


def test_the_rate_forgets_what_is_long_past() -> None:
    times = iter([0.0, 100.0, 101.0, 102.0, 103.0])
    rate = Rate(1, steps=3, clock=lambda: next(times))
    assert [rate.step() for _ in range(5)][-1] == 1.0


def board() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(BOARD.read_text("utf-8"))
    return content


def queries(content: dict[str, Any]) -> list[str]:
    found = [t["expr"] for panel in content["panels"] for t in panel["targets"]]
    variables = (v["query"] for v in content["templating"]["list"])
    return found + [v["query"] for v in variables if isinstance(v, dict)]


def test_the_dashboard_shows_every_gauge_and_no_other() -> None:
    asked = {name for q in queries(board()) for name in re.findall(r"\bray_\w+", q)}
    assert asked == {f"ray_dpo_sweeps_{name}" for name in {**OF_TRIAL, **OF_SWEEP}}


def test_the_dashboard_asks_only_for_labels_that_a_gauge_has() -> None:
    for query in queries(board()):
        [name] = set(re.findall(r"ray_dpo_sweeps_(\w+)", query))
        labels = {
            label for by in re.findall(r"by \(([\w, ]+)\)", query) for label in by.split(", ")
        }
        labels |= set(re.findall(r"[{,]\s*(\w+)\s*[=!]", query))
        assert labels <= set(TAGS["trial" if name in OF_TRIAL else "sweep"]), query


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], int] = {}
    for panel in board()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for cell in itertools.product(range(at["w"]), range(at["h"])):
            place = at["x"] + cell[0], at["y"] + cell[1]
            assert taken.setdefault(place, panel["id"]) == panel["id"]
    ids = [panel["id"] for panel in board()["panels"]]
    assert len(set(ids)) == len(ids) >= 6
