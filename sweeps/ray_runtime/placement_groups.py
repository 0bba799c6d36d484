"""Placement groups that nobody owns any more, with the CPUs and GPUs they hold.

Ray removes the groups of a job that ends, and Ray Train those of a controller that dies. Neither
sees a group that was asked for at that very moment, or whose workers were still starting: it stays.
A sweep that was killed would find its own resources taken when it is resumed, and a trial whose node
was taken away would wait for a CPU that its own dead controller holds.
"""

from __future__ import annotations

from typing import Any


def remove_orphans() -> int:
    """Remove those of dead jobs, and those that dead actors of this job asked for; returns how many.

    Detached groups outlive their owner on purpose and are left alone. Needs a connected Ray.
    """
    import ray
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    own_job = ray.get_runtime_context().get_job_id()
    try:
        orphans = [group for group in _standing() if _is_orphan(group, own_job)]
        for group in orphans:
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
    except (ray.exceptions.RayError, OSError):
        return 0
    return len(orphans)


def _standing() -> list[Any]:
    """Rows of the cluster's own table: no public function tells who asked for a group."""
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData as Group

    rows = map(Group.FromString, state._connect_and_get_accessor().get_placement_group_table())
    return [row for row in rows if row.state != Group.REMOVED and not row.is_detached]


def _is_orphan(group: Any, own_job: str) -> bool:
    from ray._private.state import actors, jobs

    job, actor = group.creator_job_id.hex(), group.creator_actor_id.hex()
    if job != own_job:
        return any(each["JobID"] == job and each["IsDead"] for each in jobs())
    return bool(actors(actor).get("State") == "DEAD")  # of a driver's own group: no actor, no state
