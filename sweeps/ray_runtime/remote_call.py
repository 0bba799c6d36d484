"""Functions run where a trial would run: on a lane that is up anyway, or in a Ray task.

What a sweep does before and after its trials (tokens, the reference pass, export) needs the same
imports and the same GPU as they do. On a lane it finds both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dpo_core.errors import UserError
from sweeps.config.schema import SweepConfig
from sweeps.ray_runtime.placement_groups import remove_orphans

Call = Callable[..., Any]
_TRIES = 3  # a worker or node may die under it


def call_of(config: SweepConfig, lanes: Any = None) -> Call:
    """`call(function, *args)` returns what the function returns there.

    A user's mistake inside comes back as itself, not as a Ray error. A lane of several workers runs
    no calls: all but one of them would wait for it in a collective, which has a time limit.
    """
    if lanes is not None and config.resources.workers == 1:
        return lambda function, *args: _on_lane_or_in_task(config, lanes, function, args)
    return lambda function, *args: _in_task(config, function, args)


def _in_task(config: SweepConfig, function: Call, args: tuple[Any, ...]) -> Any:
    import ray

    remove_orphans()  # a trial that died may have left what the task would wait for
    task = ray.remote(function).options(
        num_cpus=config.resources.cpus_per_worker,
        num_gpus=config.resources.gpus_per_worker,
        max_retries=_TRIES - 1,
    )
    try:
        return ray.get(task.remote(*args))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise


def _on_lane_or_in_task(
    config: SweepConfig, lanes: Any, function: Call, args: tuple[Any, ...]
) -> Any:
    import ray

    try:
        return _on_lane(lanes, function, args)
    except ray.exceptions.RayActorError:  # the lanes' mailbox died, and they with it
        return _in_task(config, function, args)


def _on_lane(lanes: Any, function: Call, args: tuple[Any, ...]) -> Any:
    import ray

    from sweeps.ray_runtime.lanes import DIED

    detail = ""
    for _ in range(_TRIES):
        ticket = ray.get(lanes.submit.remote({"call": (function, args)}))
        events: list[dict[str, Any]] = []
        outcome = None
        while outcome is None:
            more, outcome, detail = ray.get(lanes.read.remote(ticket, len(events)))
            events += more
        if outcome != DIED:
            [event] = events
            if "error" in event:
                raise event["error"]
            return event["result"]
    raise RuntimeError(f"{function.__name__}: its worker died {_TRIES} times: {detail}")
