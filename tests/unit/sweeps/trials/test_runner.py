"""What Tune says of an error that ends a sweep. Trials themselves: tests/integration/test_sweep.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.trainable.function_trainable import FunctionTrainable, wrap_function

from dpo_core.errors import ReferenceMismatch
from dpo_core.storage.store import Store
from sweeps.config.load import parse_sweep
from sweeps.run_dir.lock import Busy
from sweeps.run_dir.paths import SweepPaths
from sweeps.trials import runner

SWEEP = """
name: toy
model: {path: toy}
data: {path: pairs.jsonl}
space: demo
training: {max_steps: 1}
"""
TRACEBACK = """Traceback (most recent call last):
ray.exceptions.RayTaskError(ReferenceMismatch): ray::ImplicitFunc.train()
dpo_core.errors.ReferenceMismatch: the files have changed; put the old ones back
During handling of the above exception, another exception occurred:
"""


@pytest.mark.parametrize(
    ("text", "expected", "message"),
    [
        (TRACEBACK, ReferenceMismatch, "^the files have changed; put the old ones back$"),
        ("sweeps.run_dir.lease_note.Busy: s: process 7 works on it", Busy, "^s: process 7"),
        ("Traceback: a defect", tune.TuneError, "a defect"),
    ],
)
def test_a_mistake_comes_through_tune_as_itself(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    expected: type[Exception],
    message: str,
) -> None:
    class Tuner:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def fit(self) -> None:
            raise tune.TuneError(text)

    monkeypatch.setattr(runner.tune, "Tuner", Tuner)
    config, paths = parse_sweep(SWEEP, source="test"), SweepPaths(Store.open(tmp_path), "sweep")
    nothing: Any = None
    with pytest.raises(expected, match=message):
        runner._fit(config, paths, nothing, nothing, 1, lambda drawn: None)


@pytest.mark.parametrize(
    ("lanes", "name"), [(False, "s-1-t0003"), (True, "s-1-t0003 and later trials")]
)
def test_a_driver_is_named_by_its_trial_in_the_list_of_actors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanes: bool, name: str
) -> None:
    monkeypatch.setattr(FunctionTrainable, "setup", lambda *_: None)
    config = parse_sweep(SWEEP, source="test", overrides=[f"resources.lanes={lanes}"])
    paths = SweepPaths(Store.open(tmp_path), "s-1")
    driver = wrap_function(runner._trainable(config, paths, None))
    assert repr(driver(config={"trial": "t0003", "point": {}, "seed": 0})) == name
