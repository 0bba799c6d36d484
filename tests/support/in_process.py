"""The command and whole sweeps in the process of the tests, which has its imports done."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from dpo_core.errors import TrialFailed
from sweeps.cli.app import main
from sweeps.config.schema import ResourceSettings, SweepConfig
from sweeps.run_dir.paths import SweepPaths

IN_PROCESS, ON_RAY = "in process", "on Ray"
PLACES = [IN_PROCESS, pytest.param(ON_RAY, marks=[pytest.mark.ray, pytest.mark.slow])]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `dpo-sweeps` in this process; what it changes of the process is undone."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with (
            mock.patch.object(sys, "argv", ["dpo-sweeps", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as stopped,
        ):
            main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    code = stopped.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(list(arguments), code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def sweeps_in_process() -> Iterator[None]:
    """Let whole sweeps run in this process: trials one after the other, calls as plain calls.

    Only Ray is left out. Data, points, training, ledger, retention, choice, export and report are the
    product's own; Ray Train's local mode runs the loop that a worker runs. In
    `sweeps_without_ray` training is made up, too.
    """
    with contextlib.ExitStack() as patches:
        for name, replacement in {
            "sweeps.sweep.connected": contextlib.nullcontext,
            "sweeps.reselect.connected": contextlib.nullcontext,
            "sweeps.sweep.dashboard_url": lambda: None,
            "sweeps.sweep.remote_call_for": lambda *_: _call,
            "sweeps.reselect.remote_call_for": lambda *_: _call,
            "sweeps.trials.runner.open_lanes": lambda *_: None,
            "sweeps.trials.runner._fit": _fit,
            "sweeps.trials.trainable.fit_group": _fit_group,
            "ray.tune.integration.ray_train.TuneReportCallback": lambda: None,
            "ray.cluster_resources": lambda: {"CPU": 2.0, "driver": 1.0},
            # Statsmodels collects at every correction of p-values: a second with torch loaded.
            "gc.collect": lambda *_: 0,
        }.items():
            patches.enter_context(mock.patch(name, replacement))
        yield


@contextlib.contextmanager
def sweeps_run(request: pytest.FixtureRequest) -> Iterator[None]:
    """For a fixture with `params=PLACES`: sweeps run where its parameter says."""
    if request.param == ON_RAY:
        request.getfixturevalue("ray_cluster")
        yield
    else:
        with sweeps_in_process():
            yield


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _fit(
    config: SweepConfig,
    paths: SweepPaths,
    callback: Any,
    searcher: Any,
    trials: int,
    trainable: Callable[[dict[str, Any]], None],
    scheduler: Any = None,
) -> None:
    """Stand in for Tune, which tells searcher and callback what happens to each trial."""
    for number in range(trials):
        _run_trial(str(number), callback, searcher, trainable)


def _run_trial(
    trial_id: str, callback: Any, searcher: Any, trainable: Callable[[dict[str, Any]], None]
) -> None:
    drawn = searcher.suggest(trial_id)
    trial = SimpleNamespace(config=drawn, error_file=None, get_error=lambda: None)
    results: list[dict[str, Any]] = []

    def report(metrics: dict[str, Any]) -> None:
        results.append({**metrics, "training_iteration": len(results) + 1})
        searcher.on_trial_result(trial_id, results[-1])
        callback.on_trial_result(trial=trial, result=results[-1])

    callback.on_trial_start(trial=trial)
    failed = False
    with mock.patch("ray.train.report", report):
        try:
            trainable(drawn)
        except TrialFailed:
            failed = True
    searcher.on_trial_complete(trial_id, results[-1] if results else None, failed)
    (callback.on_trial_error if failed else callback.on_trial_complete)(trial=trial)


def _fit_group(
    loop: Callable[[Any], None],
    config: Any,
    *,
    name: str,
    storage: str,
    resources: ResourceSettings,
    callbacks: Sequence[Any] = (),
) -> None:
    """Stand in for a worker group: Ray Train's local mode is one worker in this process."""
    from ray.train import RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=0),
        run_config=RunConfig(name=name, storage_path=storage),
    )
    try:
        trainer.fit()
    except Exception as error:
        raise WorkerGroupError("the worker failed", {0: error}) from error
