"""Trackers as Tune callbacks, made by Ray's own integrations: MLflow and Weights & Biases.

They talk to a network, so each is held in a shell that lets no failure of theirs reach the sweep.
TensorBoard needs nothing: Ray writes its files below the sweep's `ray/`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

from ray import tune

from sweeps.config.secrets import redact
from sweeps.config.trackers import TrackerSettings

log = logging.getLogger("dpo_sweeps")

_KEY = "WANDB_API_KEY"
_UPLOAD_S = 60  # at the end of a sweep, for what is still on its way


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
            log.warning(f"trackers.{self.name}: {text}; the sweep goes on without it")


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
    """Ray's callback, except that the key goes to its actors as an argument: Ray would put it into
    their runtime environment, which the dashboard shows. And what they raise is heard."""
    import ray
    from ray.air.integrations import wandb as integration

    class KeyedActor(integration._WandbLoggingActor):  # type: ignore[misc]
        def __init__(self, *args: Any, key: str | None, **options: Any) -> None:
            if key:
                os.environ[_KEY] = key
            super().__init__(*args, **options)

    # Offline or not is for the driver's environment to say: an actor only has its node's.
    mode = os.environ.get("WANDB_MODE", "online")

    class Callback(integration.WandbLoggerCallback):  # type: ignore[misc]
        _logger_actor_cls = KeyedActor

        def _start_logging_actor(self, *args: Any, **options: Any) -> None:
            with _without(_KEY) as key:
                super()._start_logging_actor(*args, key=key, **options)

        def log_trial_end(self, trial: Any, failed: bool = False) -> None:
            super().log_trial_end(trial, failed)
            future = self._trial_logging_futures.get(trial)
            # Tune copies a trial's files to the storage before the sweep's end, for which Ray waits.
            if mode == "offline" and future is not None:
                ray.wait([future], timeout=_UPLOAD_S)

        def _cleanup_logging_actor(self, trial: Any) -> None:
            future = self._trial_logging_futures[trial]
            super()._cleanup_logging_actor(trial)
            if ray.wait([future], timeout=0)[0]:
                ray.get(future)

    return Callback(project=project, group=sweep_id, upload_timeout=_UPLOAD_S, mode=mode)


@contextlib.contextmanager
def _without(variable: str) -> Iterator[str | None]:
    """The variable is absent inside; gives its value."""
    value = os.environ.pop(variable, None)
    try:
        yield value
    finally:
        if value is not None:
            os.environ[variable] = value
