"""Where a sweep's calls run: on a lane, or in a task of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime import remote_call
from sweeps.ray_runtime.remote_call import CallInTask, CallOnLane, remote_call_for


class LanesThat:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def call(self, function: Any, *args: Any) -> Any:
        if self.error:
            raise self.error
        return "on a lane", function(*args)


def config(workers: int) -> Any:
    return SimpleNamespace(resources=ResourceSettings(workers=workers))


@pytest.fixture(autouse=True)
def in_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        remote_call.CallInTask, "__call__", lambda _, function, *args: ("task", function(*args))
    )


def test_calls_run_on_lanes_where_there_are_some() -> None:
    call = remote_call_for(config(1), LanesThat())
    assert isinstance(call, CallOnLane)
    assert call(divmod, 17, 5) == ("on a lane", (3, 2))


def test_without_lanes_and_on_lanes_of_several_workers_calls_run_in_tasks() -> None:
    for call in (remote_call_for(config(1)), remote_call_for(config(2), LanesThat())):
        assert isinstance(call, CallInTask)
        assert call(divmod, 17, 5) == ("task", (3, 2))


def test_a_call_outlives_the_lane_queue() -> None:
    call = remote_call_for(config(1), LanesThat(ray.exceptions.RayActorError()))
    assert call(divmod, 17, 5) == ("task", (3, 2))


def test_another_error_is_the_calls_own() -> None:
    with pytest.raises(ZeroDivisionError):
        remote_call_for(config(1), LanesThat(ZeroDivisionError()))(divmod, 17, 5)
