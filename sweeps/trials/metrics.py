"""Metrics of a running sweep, for the dashboard, Prometheus and Grafana.

Ray exports each gauge as `ray_dpo_sweeps_<name>`, about ten seconds after it was set. Rank 0 of a
trial sets the metrics of that trial, the sweep's driver those of the sweep.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sweeps.trials.progress import SweepProgress

if TYPE_CHECKING:
    from ray.util.metrics import Gauge

PREFIX = "dpo_sweeps_"
OF_TRIAL: Mapping[str, str] = {
    "accuracy": "Held-out preference accuracy at the trial's last evaluation, 0 to 1",
    "loss": "Training loss of the trial's last step, nats",
    "pairs_per_second": "Pairs that the trial trains on a second, over its last steps",
}
OF_SWEEP: Mapping[str, str] = {
    "best_accuracy": "Best held-out preference accuracy so far of a checkpoint that can win, 0 to 1",
    "seconds_left": "Seconds until the last trial ends, at the pace of those that have ended",
    "trials_done": "Trials that ended with a result, those stopped early included",
    "trials_failed": "Trials that failed; the ledger says why",
    "trials_running": "Trials that run now",
}
TAGS = {"trial": ("sweep", "trial"), "sweep": ("sweep",)}


class TrialMetrics:
    """Metrics that rank 0 of a trial sets; one object serves all trials of its lane."""

    def __init__(self, sweep_id: str, pairs_per_step: int) -> None:
        self.gauges = _create_gauges(OF_TRIAL, TAGS["trial"])
        self.sweep_id, self.rate = sweep_id, Rate(pairs_per_step)

    def stepped(self, trial: str, loss: float) -> None:
        """Show the training loss of a step, in nats, and how fast the trial trains."""
        self._set("loss", trial, loss)
        rate = self.rate.step()
        if rate is not None:
            self._set("pairs_per_second", trial, rate)

    def evaluated(self, trial: str, accuracy: float) -> None:
        """Show the accuracy of an evaluation, which takes time but trains no pairs."""
        self._set("accuracy", trial, accuracy)
        self.rate.pause()

    def ended(self, trial: str) -> None:
        """Show that a trial trains no more: its gauge would keep the last value."""
        self._set("pairs_per_second", trial, 0.0)
        self.rate.pause()

    def _set(self, name: str, trial: str, value: float) -> None:
        self.gauges[name].set(value, tags={"sweep": self.sweep_id, "trial": trial})


class SweepMetrics:
    """Metrics of a sweep."""

    def __init__(self, sweep_id: str) -> None:
        self.gauges, self.tags = _create_gauges(OF_SWEEP, TAGS["sweep"]), {"sweep": sweep_id}

    def show(self, progress: SweepProgress, running: int) -> None:
        """Set the gauges; what is not known yet stays away.

        Args:
            progress: Progress of the sweep.
            running: Number of trials that run.
        """
        values = {
            "best_accuracy": progress.best,
            "seconds_left": progress.seconds_left,
            "trials_done": progress.ended - progress.failed,
            "trials_failed": progress.failed,
            "trials_running": running,
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
        """Count a step that has ended. Returns pairs per second, None after the first step."""
        self.ends.append(self.clock())
        seconds = self.ends[-1] - self.ends[0]
        return self.pairs_per_step * (len(self.ends) - 1) / seconds if seconds > 0 else None

    def pause(self) -> None:
        """Forget the steps so far: the time until the next one is not all training."""
        self.ends.clear()


def _create_gauges(about: Mapping[str, str], tags: tuple[str, ...]) -> dict[str, Gauge]:
    from ray.util.metrics import Gauge

    return {
        name: Gauge(f"{PREFIX}{name}", description=text, tag_keys=tags)
        for name, text in about.items()
    }
