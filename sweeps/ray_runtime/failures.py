"""Why a trial failed: written down by the worker that saw it, read by whoever must tell.

Only what the trial itself did is written down. When the driver, a node or another worker died, the
survivors see errors too, but the trial may go on from its checkpoint.
"""

from __future__ import annotations

import json
import re
import traceback

from dpo_core.errors import StorageError, TrialFailed, UserError
from sweeps.config.secrets import redact
from sweeps.run_dir import json_files
from sweeps.run_dir.paths import SweepPaths

# What torch says on a GPU, and what it says on a CPU.
_MEMORY = re.compile(r"out of memory|not enough memory|can.t allocate memory", re.IGNORECASE)
# What a death says that `reason_of` has described.
_STORAGE = re.compile(r"StorageError: (.*)")
# What gloo says, as a plain RuntimeError, when the other end of a collective is gone.
_PEER_GONE = re.compile(r"gloo.*(clos|reset|timed out|refused)|by peer", re.IGNORECASE)


def failure_of(paths: SweepPaths, trial: str) -> dict[str, str] | None:
    """The {reason, detail} that a worker wrote down, if it could. Where only a part of it is left,
    the trial runs again: what was its own to blame happens again."""
    failure: dict[str, str] | None
    failure = json_files.FAILURE.rebuildable(paths.store, paths.failure(trial))
    return failure


def reason_of(error: BaseException) -> tuple[str, str]:
    """A short kind and one line of detail, without secrets: libraries put URLs into their errors."""
    if isinstance(error, TrialFailed):
        return error.reason, redact(error.detail)
    text = redact(f"{type(error).__name__}: {error}".strip().splitlines()[0])
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return "out of memory", text
    return ("settings" if isinstance(error, UserError) else "exception"), text


def is_elsewhere(error: BaseException) -> bool:
    """Whether another process, the network or the storage is to blame, and not the trial."""
    import ray
    import torch.distributed

    kinds = ray.exceptions.RayError | torch.distributed.DistError | StorageError
    return isinstance(error, kinds) or (
        isinstance(error, RuntimeError) and bool(_PEER_GONE.search(str(error)))
    )


def cause_of(error: BaseException) -> BaseException:
    """What the first worker died of, where Ray Train tells it."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause: BaseException = getattr(failure, "_base_exc", failure)
        return cause
    return error


def stop_for_storage(text: str) -> None:
    """Raises StorageError when that is what a trial ended with: the next one would too, and none of
    them has failed."""
    found = _STORAGE.search(text)
    if found:
        raise StorageError(found[1])


def record_failure(paths: SweepPaths, trial: str, error: Exception) -> None:
    """Where the trial's driver and the ledger will look for it; nothing for `is_elsewhere`."""
    if is_elsewhere(error):
        return
    reason, detail = reason_of(error)
    failure = {"reason": reason, "detail": detail, "traceback": redact(traceback.format_exc())}
    paths.store.write(paths.failure(trial), json.dumps(failure, indent=2).encode())
