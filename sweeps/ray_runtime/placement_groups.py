"""Leftover placement groups: nobody owns them any more, and they keep CPUs and GPUs reserved.

Ray removes the groups of a job that ends, and Ray Train those of a controller that dies. Neither
sees a group that was requested at that very moment, or whose workers were still starting: it stays.
A sweep that was killed would find its own resources taken when it is resumed, and a trial whose node
was taken away would wait for a CPU that its own dead controller reserved.

Tested in tests/integration/test_placement_groups.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData


def remove_leftover_groups() -> int:
    """Remove the groups of dead jobs, and those that dead actors of this job requested.

    Detached groups outlive their owner on purpose and stay. Needs a connected Ray. Returns how many
    groups were removed.
    """
    import ray
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    own_job = ray.get_runtime_context().get_job_id()
    try:
        leftover = [group for group in _listed_groups() if _is_leftover(group, own_job)]
        for group in leftover:
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
    except (ray.exceptions.RayError, OSError):
        return 0
    return len(leftover)


def _listed_groups() -> list[PlacementGroupTableData]:
    """Read the cluster's own table: no public function says which job requested a group."""
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData as Group

    rows = map(Group.FromString, state._connect_and_get_accessor().get_placement_group_table())
    return [row for row in rows if row.state != Group.REMOVED and not row.is_detached]


def _is_leftover(group: PlacementGroupTableData, own_job: str) -> bool:
    from ray._private.state import actors, jobs

    job, actor = group.creator_job_id.hex(), group.creator_actor_id.hex()
    if job != own_job:
        return any(each["JobID"] == job and each["IsDead"] for each in jobs())
    return bool(actors(actor).get("State") == "DEAD")  # of a driver's own group: no actor, no state
