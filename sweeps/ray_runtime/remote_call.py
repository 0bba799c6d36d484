"""Functions called where a trial would run: on a lane that is up anyway, or in a Ray task.

What a sweep does before and after its trials (tokens, the reference pass, export) needs the same
imports and the same GPU as they do. On a lane it finds both.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Protocol, TypeVar, TypeVarTuple, cast

from dpo_core.errors import UserError
from dpo_core.model_code import warn_of_code
from dpo_core.storage.private_tmp import use_own_tmp_folder
from sweeps.config.schema import SweepConfig
from sweeps.ray_runtime.lane_client import LaneClient
from sweeps.ray_runtime.placement_groups import remove_leftover_groups

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_RETRIES = 2  # a worker or node may die during a call


class RemoteCall(Protocol):
    """`call(function, *args)` returns what `function(*args)` returns on a worker.

    A user's mistake inside comes back as itself, not as a Ray error.
    """

    def __call__(self, function: Callable[[*Ts], T], *args: *Ts) -> T: ...


class CallInTask:
    """Calls functions in Ray tasks with the resources of one worker."""

    def __init__(self, config: SweepConfig) -> None:
        self.config, self.resources = config, config.resources

    def __call__(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        import ray

        warn_of_model_code(self.config)
        remove_leftover_groups()  # a trial that died may have left what the task would wait for
        task = ray.remote(_call_in_worker).options(
            name=function.__name__,
            num_cpus=self.resources.cpus_per_worker,
            num_gpus=self.resources.gpus_per_worker,
            max_retries=_RETRIES,
        )
        try:
            return cast("T", ray.get(task.remote(function, *args)))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise


def _call_in_worker(function: Callable[[*Ts], T], *args: *Ts) -> T:
    use_own_tmp_folder()
    return function(*args)


class CallOnLane:
    """Calls functions on the lanes, or in tasks once the lane queue has died."""

    def __init__(self, lanes: LaneClient, in_task: CallInTask) -> None:
        self.lanes, self.in_task = lanes, in_task

    def __call__(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        import ray

        try:
            return self.lanes.call(function, *args)
        except ray.exceptions.RayActorError:
            return self.in_task(function, *args)


def call_in_shares(config: SweepConfig, parts: int, do_share: Callable[[int, int], T]) -> list[T]:
    """Do the parts of some work in shares, on as many workers as trials may use at once.

    Args:
        config: The sweep.
        parts: How many parts the work has; there are no more shares than parts.
        do_share: Does one share on a worker. It is called in threads, with `share` (from 0) and
            `shares`; what the first of the calls raises is raised.

    Returns:
        What each share returned, in their order.
    """
    shares = min(config.search.concurrent * config.resources.workers, parts)
    if shares < 2:
        return [do_share(0, 1)] if shares else []
    pool = ThreadPoolExecutor(shares)
    try:
        futures = [pool.submit(do_share, share, shares) for share in range(shares)]
        for future in as_completed(futures):
            future.result()
        return [future.result() for future in futures]
    finally:
        # Nobody waits for the others when one failed, or when the sweep is interrupted.
        pool.shutdown(wait=False, cancel_futures=True)


def warn_of_model_code(config: SweepConfig) -> None:
    """Warn of the code that workers run: that of the model, and that of the incumbent beside it."""
    warn_of_code(config.model)
    if config.selection.incumbent is not None:
        own = {"path": config.selection.incumbent, "revision": None}
        warn_of_code(config.model.model_copy(update=own))


def remote_call_for(config: SweepConfig, lanes: LaneClient | None = None) -> RemoteCall:
    """Choose where a sweep's calls run.

    A lane of several workers runs no calls: all but one of them would wait for it in a collective,
    which has a time limit.
    """
    in_task = CallInTask(config)
    if lanes is not None and config.resources.workers == 1:
        return CallOnLane(lanes, in_task)
    return in_task
