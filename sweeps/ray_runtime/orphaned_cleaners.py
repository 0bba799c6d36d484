"""Ray Train's cleaners, which outlive the runs that they should clean up after.

Ray Train starts a detached `PlacementGroupCleaner` beside each controller. It asks the dashboard every
second whether the controller lives, and when it was killed it removes the placement group and exits.
Where the dashboard does not answer it asks for ever: a process of 200 MB for each run that was killed.

No public function gives a handle of a detached actor without a name, so its process is ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CLEANER = "PlacementGroupCleaner"
_TITLE = f"ray::{CLEANER}"
_PATIENCE_S = 30.0
"""How long to wait for the nodes; what is not ended now is ended by the next sweep."""


def end_orphaned_cleaners() -> int:
    """End the cleaners whose controllers have died. Needs a connected Ray.

    Returns how many were ended.
    """
    import ray
    from ray._private.state import actors

    try:
        by_node = orphans(list(actors(actor_state_name="ALIVE").values()))
        return sum(_end_on(node, pids) for node, pids in by_node.items())
    except (ray.exceptions.RayError, OSError):
        return 0


def orphans(alive: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Return the process ids of orphaned cleaners, by the id of their node.

    A cleaner's owner is its controller, so the cleaner is an orphan when no living actor has the
    owner's address.

    Args:
        alive: All living actors of the cluster, as Ray's state lists them.
    """
    addresses = {_address(each["Address"]) for each in alive}
    by_node: dict[str, list[int]] = {}
    for each in alive:
        is_cleaner = each["ActorClassName"] == CLEANER and each["IsDetached"]
        if is_cleaner and _address(each["OwnerAddress"]) not in addresses:
            by_node.setdefault(each["Address"]["NodeID"], []).append(each["Pid"])
    return by_node


def end_processes(pids: Sequence[int]) -> int:
    """End those of these processes that are cleaners of this user; return how many."""
    return sum(_end(pid) for pid in pids)


def _end_on(node: str, pids: Sequence[int]) -> int:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if node == ray.get_runtime_context().get_node_id():
        return end_processes(pids)
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(end_processes).options(num_cpus=0, scheduling_strategy=there)
    ended: int = ray.get(task.remote(pids), timeout=_PATIENCE_S)
    return ended


def _end(pid: int) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        # The number may be another process's by now.
        title = (process / "cmdline").read_bytes().decode(errors="replace")
        if not title.startswith(_TITLE) or process.stat().st_uid != os.geteuid():
            return False
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return False
    return True


def _address(address: Mapping[str, Any]) -> tuple[str, str, int]:
    return address["NodeID"], address["IPAddress"], address["Port"]
