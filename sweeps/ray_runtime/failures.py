"""The reasons of failed trials: written down by the worker that failed, read by its driver.

Only what the trial itself did is written down. When the driver, a node or another worker died, the
survivors see errors too, but the trial may go on from its checkpoint.
"""

from __future__ import annotations

import re
import traceback
from typing import TypedDict

from dpo_core.errors import ReferenceMismatch, StorageError, TrialFailed, UserError
from sweeps.config.secrets import redact
from sweeps.run_dir import json_files
from sweeps.run_dir.lock import Busy
from sweeps.run_dir.paths import SweepPaths

# What torch says on a GPU, and what it says on a CPU.
_MEMORY = re.compile(r"out of memory|not enough memory|can.t allocate memory", re.IGNORECASE)
# Errors that end the sweep, since the next trial would end with the same one.
_OF_SWEEP = {error.__name__: error for error in (StorageError, ReferenceMismatch, Busy)}
# One of them in a text that `reason_and_detail` has described.
_DESCRIBED = re.compile(rf"\b({'|'.join(_OF_SWEEP)}): (.*)")
# What gloo says, as a plain RuntimeError, when the other end of a collective is gone.
_PEER_GONE = re.compile(r"gloo.*(clos|reset|timed out|refused)|by peer", re.IGNORECASE)


class FailureJson(TypedDict):
    """`failures/<trial>.json`: why a trial failed."""

    reason: str
    detail: str
    traceback: str


def read_failure(paths: SweepPaths, trial: str) -> FailureJson | None:
    """Read why a trial failed, if its worker wrote that down.

    A damaged file counts as none: the trial runs again, and fails again if it was its own fault.
    """
    failure: FailureJson | None
    failure = json_files.FAILURE.rebuildable(paths.store, paths.failure(trial))
    return failure


def reason_and_detail(error: BaseException) -> tuple[str, str]:
    """Describe an error without secrets: libraries put URLs into their messages.

    Args:
        error: What a worker or Ray raised.

    Returns:
        A reason such as "out of memory", and one line of detail.
    """
    if isinstance(error, TrialFailed):
        return error.reason, redact(error.detail)
    text = redact(f"{type(error).__name__}: {error}".strip().splitlines()[0])
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return "out of memory", text
    return ("settings" if isinstance(error, UserError) else "exception"), text


def is_caused_elsewhere(error: BaseException) -> bool:
    """Check whether something else caused an error, not the trial: another process, the network, the
    storage, or a model that no trial can start from."""
    import ray
    import torch.distributed

    kinds = ray.exceptions.RayError | torch.distributed.DistError
    if isinstance(error, tuple(_OF_SWEEP.values())):
        return True
    return isinstance(error, kinds) or (
        isinstance(error, RuntimeError) and bool(_PEER_GONE.search(str(error)))
    )


def first_worker_error(error: BaseException) -> BaseException:
    """Return the error of the first worker that failed, where Ray Train's error holds it."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause: BaseException = getattr(failure, "_base_exc", failure)
        return cause
    return error


def raise_error_of_sweep(text: str) -> None:
    """Raise StorageError, ReferenceMismatch or Busy when that ended a trial, by what was written of it.

    The next trial would end the same way, and none of them has failed.
    """
    match = _DESCRIBED.search(text)
    if match:
        raise _OF_SWEEP[match[1]](match[2]) from None


def record_failure(paths: SweepPaths, trial: str, error: Exception) -> None:
    """Write down why a trial failed, unless the error was caused elsewhere.

    Args:
        paths: The sweep, whose folder gets the file.
        trial: The trial's name.
        error: The error being handled, whose traceback is kept too.
    """
    if is_caused_elsewhere(error):
        return
    reason, detail = reason_and_detail(error)
    failure: FailureJson = {
        "reason": reason,
        "detail": detail,
        "traceback": redact(traceback.format_exc()),
    }
    json_files.FAILURE.write(paths.store, paths.failure(trial), failure)
