"""Placement groups that dead jobs left in the cluster, with the CPUs and GPUs they hold.

Ray removes the groups of a job that ends, but one that an actor of the job asks for at that very
moment stays for ever. A sweep that was killed while a worker group started would find its own
resources taken when it is resumed.
"""

from __future__ import annotations

from typing import Any


def remove_orphans() -> int:
    """Remove those of the connected cluster; returns how many. Detached groups outlive their job on
    purpose and are left alone. Without a dashboard nothing is known, and nothing removed."""
    from ray._raylet import PlacementGroupID
    from ray.exceptions import RayError
    from ray.util.placement_group import PlacementGroup, remove_placement_group
    from ray.util.state import list_placement_groups
    from ray.util.state.exception import RayStateApiException

    try:
        groups = list_placement_groups(
            filters=[("state", "!=", "REMOVED")], detail=True, timeout=10, limit=10_000
        )
        orphans = _of_dead_jobs(groups, _dead_jobs())
        for group in orphans:
            identity = PlacementGroupID(bytes.fromhex(group.placement_group_id))
            remove_placement_group(PlacementGroup(identity))
    except (RayStateApiException, RayError, OSError):
        return 0
    return len(orphans)


def _dead_jobs() -> set[str]:
    from ray._private.state import jobs

    return {job["JobID"] for job in jobs() if job["IsDead"]}


def _of_dead_jobs(groups: Any, dead: set[str]) -> list[Any]:
    return [g for g in groups if g.creator_job_id in dead and not g.is_detached]
