"""Trackers as Tune callbacks, made by Ray's own integrations: MLflow and Weights & Biases.

They use a network, so each is wrapped in a callback that keeps its failures from the sweep.
TensorBoard needs nothing: Ray writes its files below the sweep's `ray/`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ray import tune

from sweeps.config.secrets import redact
from sweeps.config.trackers import TrackerSettings

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

log = logging.getLogger("dpo_sweeps")

_KEY = "WANDB_API_KEY"
_UPLOAD_S = 60  # at the end of a sweep, for what is still on its way


def tracker_callbacks(trackers: TrackerSettings, name: str, sweep_id: str) -> list[Tolerated]:
    """Build the callbacks of the trackers that a config names.

    Args:
        trackers: The config's section.
        name: The sweep's name, which its repetitions share.
        sweep_id: The id of this sweep.

    Returns:
        Callbacks for Tune's run config.
    """
    callbacks: list[Tolerated] = []
    if trackers.mlflow:
        callbacks.append(Tolerated("mlflow", lambda: _mlflow(trackers.mlflow, name, sweep_id)))
    if trackers.wandb:
        callbacks.append(Tolerated("wandb", lambda: _wandb(trackers.wandb, sweep_id)))
    return callbacks


class Tolerated(tune.Callback):  # type: ignore[misc]
    """A tracker that may fail: its first failure is a warning, and it is not called again."""

    def __init__(self, name: str, build: Callable[[], tune.Callback]) -> None:
        self.name, self.build = name, build
        self.tracker: tune.Callback | None = None
        self.failed = False

    def __getstate__(self) -> dict[str, object]:
        """Return nothing: Tune pickles its callbacks for a restore that we never use, and a tracker
        has things that belong in no file (a connection, a key)."""
        return {}

    def setup(self, *args: object, **info: object) -> None:
        """Build the tracker and set it up."""

        def start() -> None:
            self.tracker = self.build()
            self.tracker.setup(*args, **info)

        self._try(start)

    def _pass_on(self, method: str, *args: object, **info: object) -> None:
        if self.tracker is not None and not self.failed:
            self._try(lambda: getattr(self.tracker, method)(*args, **info))

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # whatever a client library raises: the sweep goes on
            self.failed = True
            text = redact(f"{type(error).__name__}: {error}".strip().splitlines()[0])
            log.warning(f"trackers.{self.name}: {text}; the sweep goes on without it")


def _passing(method: str) -> Callable[..., None]:
    def pass_on(self: Tolerated, *args: object, **info: object) -> None:
        self._pass_on(method, *args, **info)

    return pass_on


for _method in (name for name in vars(tune.Callback) if name.startswith("on_")):
    setattr(Tolerated, _method, _passing(_method))


def _mlflow(uri: str | None, name: str, sweep_id: str) -> tune.Callback:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return MLflowLoggerCallback(uri, experiment_name=name, tags={"sweep": sweep_id})


def _wandb(project: str | None, sweep_id: str) -> tune.Callback:
    """Build Ray's callback, with two changes.

    The key goes to its actors as an argument: Ray would put it into their runtime environment, which
    the dashboard shows. And an error that an actor raises is raised here too.
    """
    import ray
    from ray.air.integrations import wandb as integration

    class KeyedActor(integration._WandbLoggingActor):  # type: ignore[misc]
        def __init__(self, *args: object, key: str | None, **options: object) -> None:
            if key:
                os.environ[_KEY] = key
            super().__init__(*args, **options)

    # The driver's environment decides whether it is offline: an actor only has its node's.
    mode = os.environ.get("WANDB_MODE", "online")

    class Callback(integration.WandbLoggerCallback):  # type: ignore[misc]
        _logger_actor_cls = KeyedActor

        def _start_logging_actor(self, *args: object, **options: object) -> None:
            with _without(_KEY) as key:
                super()._start_logging_actor(*args, key=key, **options)

        def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
            super().log_trial_end(trial, failed)
            future = self._trial_logging_futures.get(trial)
            # Tune copies a trial's files to the storage before the sweep's end, for which Ray waits.
            if mode == "offline" and future is not None:
                ray.wait([future], timeout=_UPLOAD_S)

        def _cleanup_logging_actor(self, trial: Trial) -> None:
            future = self._trial_logging_futures[trial]
            super()._cleanup_logging_actor(trial)
            if ray.wait([future], timeout=0)[0]:
                ray.get(future)

    return Callback(project=project, group=sweep_id, upload_timeout=_UPLOAD_S, mode=mode)


@contextlib.contextmanager
def _without(variable: str) -> Iterator[str | None]:
    """Provide the value of a variable that is not set inside the block."""
    value = os.environ.pop(variable, None)
    try:
        yield value
    finally:
        if value is not None:
            os.environ[variable] = value
