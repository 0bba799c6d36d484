"""What the dashboard, Prometheus and Grafana see of a sweep while it runs.

Ray exports each gauge as `ray_dpo_sweeps_<name>`, about ten seconds after it was set. What concerns
one trial is set by its first worker, what concerns the sweep by its driver.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sweeps.run_dir.ledger import FAILED, TrialRecord
from sweeps.selection.ordering import best_accuracy

PREFIX = "dpo_sweeps_"
OF_TRIAL: Mapping[str, str] = {
    "accuracy": "Held-out preference accuracy at the trial's last evaluation, 0 to 1",
    "loss": "Training loss of the trial's last step, nats",
    "pairs_per_second": "Pairs that the trial trains on a second, over its last steps",
}
OF_SWEEP: Mapping[str, str] = {
    "best_accuracy": "Best held-out preference accuracy of the sweep so far, 0 to 1",
    "trials_done": "Trials that ended with a result, those stopped early included",
    "trials_failed": "Trials that failed; the ledger says why",
    "trials_running": "Trials that run now",
}
TAGS = {"trial": ("sweep", "trial"), "sweep": ("sweep",)}


class TrialGauges:
    """Set by the first worker of a trial; one object serves all trials of its lane."""

    def __init__(self, sweep_id: str, pairs_per_step: int) -> None:
        self.gauges = _gauges(OF_TRIAL, TAGS["trial"])
        self.sweep_id, self.rate = sweep_id, Rate(pairs_per_step)

    def stepped(self, trial: str, loss: float) -> None:
        self._set("loss", trial, loss)
        rate = self.rate.step()
        if rate is not None:
            self._set("pairs_per_second", trial, rate)

    def evaluated(self, trial: str, accuracy: float) -> None:
        self._set("accuracy", trial, accuracy)
        self.rate.pause()

    def ended(self, trial: str) -> None:
        """A gauge keeps its last value; a trial that has ended trains nothing any more."""
        self._set("pairs_per_second", trial, 0.0)
        self.rate.pause()

    def _set(self, name: str, trial: str, value: float) -> None:
        self.gauges[name].set(value, tags={"sweep": self.sweep_id, "trial": trial})


class SweepGauges:
    """Follows what happens to the trials of a sweep, from where its ledger stands."""

    def __init__(self, sweep_id: str, records: Iterable[TrialRecord], objective: str) -> None:
        records = list(records)
        self.gauges, self.tags = _gauges(OF_SWEEP, TAGS["sweep"]), {"sweep": sweep_id}
        self.running: set[str] = set()
        self.failed = sum(record.status == FAILED for record in records)
        self.done = len(records) - self.failed
        scores = (best_accuracy(record, objective) for record in records)
        self.best = max((score for score in scores if score is not None), default=None)
        self._set_all()

    def follow(self, happening: Any) -> None:
        """See `sweeps.trials.events.Happening`."""
        if happening.kind == "started":
            self.running.add(happening.trial)
        elif happening.kind == "evaluated":
            self.best = max(self.best or 0.0, happening.metrics["accuracy"])
        else:
            self.running.discard(happening.trial)
            self.failed += happening.kind == FAILED
            self.done += happening.kind != FAILED
        self._set_all()

    def _set_all(self) -> None:
        values = {
            "best_accuracy": self.best,
            "trials_done": self.done,
            "trials_failed": self.failed,
            "trials_running": len(self.running),
        }
        for name, value in values.items():
            if value is not None:
                self.gauges[name].set(float(value), tags=self.tags)


class Rate:
    """Pairs per second over the last steps, without what lies between: evaluations, pauses."""

    def __init__(
        self, pairs_per_step: int, *, steps: int = 20, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.pairs_per_step, self.clock = pairs_per_step, clock
        self.ends: deque[float] = deque(maxlen=steps + 1)

    def step(self) -> float | None:
        """A step has ended; None until a second one tells how long one takes."""
        self.ends.append(self.clock())
        seconds = self.ends[-1] - self.ends[0]
        return self.pairs_per_step * (len(self.ends) - 1) / seconds if seconds > 0 else None

    def pause(self) -> None:
        self.ends.clear()


def _gauges(about: Mapping[str, str], tags: tuple[str, ...]) -> dict[str, Any]:
    from ray.util.metrics import Gauge

    return {
        name: Gauge(f"{PREFIX}{name}", description=text, tag_keys=tags)
        for name, text in about.items()
    }
