"""Trackers as Tune callbacks, made by Ray's own integrations: MLflow and Weights & Biases.

They talk to a network, so each is held in a shell that lets no failure of theirs reach the sweep.
TensorBoard needs nothing: Ray writes its files below the sweep's `ray/`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from ray import tune

from sweeps.secrets import redact
from sweeps.tracker_settings import TrackerSettings

_KEY = "WANDB_API_KEY"


def tracker_callbacks(trackers: TrackerSettings, name: str, sweep_id: str) -> list[Any]:
    """For Tune's run config. `name` is the sweep's, shared by its repetitions."""
    found: list[Any] = []
    if trackers.mlflow:
        found.append(Tolerated("mlflow", lambda: _mlflow(trackers.mlflow, name, sweep_id)))
    if trackers.wandb:
        found.append(Tolerated("wandb", lambda: _wandb(trackers.wandb, sweep_id)))
    return found


class Tolerated(tune.Callback):  # type: ignore[misc]
    """A tracker that may fail: the first failure is told, and from then on it hears nothing."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self.name, self.make = name, make
        self.tracker: Any = None
        self.failed = False

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune pickles its callbacks for a restore that we never use, and what a tracker
        holds (a connection, a key) belongs in no file."""
        return {}

    def setup(self, *args: Any, **info: Any) -> None:
        def start() -> None:
            self.tracker = self.make()
            self.tracker.setup(*args, **info)

        self._try(start)

    def _pass_on(self, method: str, *args: Any, **info: Any) -> None:
        if self.tracker is not None and not self.failed:
            self._try(lambda: getattr(self.tracker, method)(*args, **info))

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # whatever a client library raises: the sweep goes on
            self.failed = True
            text = redact(f"{type(error).__name__}: {error}".strip().splitlines()[0])
            print(
                f"warning: trackers.{self.name}: {text}; the sweep goes on without it",
                file=sys.stderr,
            )


def _passing(method: str) -> Callable[..., None]:
    def pass_on(self: Tolerated, *args: Any, **info: Any) -> None:
        self._pass_on(method, *args, **info)

    return pass_on


for _method in (name for name in vars(tune.Callback) if name.startswith("on_")):
    setattr(Tolerated, _method, _passing(_method))


def _mlflow(uri: str | None, name: str, sweep_id: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback(uri, experiment_name=name, tags={"sweep": sweep_id})


def _wandb(project: str | None, sweep_id: str) -> Any:
    """Ray's callback puts the key into the runtime environment of an actor, which the dashboard
    shows; here the actor has it from its node."""
    from ray.air.integrations.wandb import WandbLoggerCallback

    class KeyStaysHome(WandbLoggerCallback):  # type: ignore[misc]
        def _start_logging_actor(self, *args: Any, **options: Any) -> None:
            with _without(_KEY):
                super()._start_logging_actor(*args, **options)

    return KeyStaysHome(project=project, group=sweep_id)


@contextlib.contextmanager
def _without(variable: str) -> Iterator[None]:
    value = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[variable] = value
