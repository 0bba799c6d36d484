"""Resources that trials need, compared with what the cluster has before anything starts.

Ray would wait for ever for resources that no node has.
"""

from __future__ import annotations

from collections.abc import Mapping

from dpo_core.errors import SettingsError
from sweeps.config.schema import ResourceSettings

# Drivers are many and one unit of the node's custom resource must serve them all.
_SHARE_OF_DRIVER = 0.001


def driver_resources(wanted: ResourceSettings) -> dict[str, float]:
    """Return the custom resource that binds trials' drivers and the lane queue to certain nodes."""
    return {wanted.driver_resource: _SHARE_OF_DRIVER} if wanted.driver_resource else {}


def driver_bundle(wanted: ResourceSettings) -> dict[str, float]:
    """Return the resources of a trial's driver.

    It only waits for its workers, so it takes no CPU from them. Ray refuses an empty bundle, hence
    the one byte of memory.
    """
    return {"CPU": 0, "memory": 1, **driver_resources(wanted)}


def check_resources(
    wanted: ResourceSettings, concurrent: int, cluster: Mapping[str, float]
) -> None:
    """Check that the trials that run at a time fit the cluster. Raises SettingsError if not.

    Args:
        wanted: What one trial gets.
        concurrent: How many trials run at a time.
        cluster: The amounts of `ray.cluster_resources()`, by name.
    """
    _check_driver(wanted, cluster)
    if wanted.autoscaling:
        return
    for name, each in (("CPU", wanted.cpus_per_worker), ("GPU", wanted.gpus_per_worker)):
        available = cluster.get(name, 0.0)
        needed = each * wanted.workers * concurrent
        if needed <= available:
            continue
        key = f"resources.{name.lower()}s_per_worker"
        fits = int(available // (each * wanted.workers))
        way_out = (
            f"set search.concurrent to {fits}" if fits else f"lower {key} or resources.workers"
        )
        raise SettingsError(
            f"{key}: {each:g} x {wanted.workers} workers x {concurrent} trials at a time need "
            f"{needed:g} {name}s and the cluster has {available:g}; {way_out}, or set "
            "resources.autoscaling: true if it can grow"
        )


def _check_driver(wanted: ResourceSettings, cluster: Mapping[str, float]) -> None:
    """Check that some node runs drivers: a cluster that grows adds nodes of workers only."""
    name = wanted.driver_resource
    if name is not None and cluster.get(name, 0.0) <= 0:
        raise SettingsError(
            f"resources.driver_resource: no node has {name!r}; start the head with "
            f"`ray start --head --resources='{{\"{name}\": 1}}'`, or drop the key"
        )
