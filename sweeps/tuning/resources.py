"""Can the cluster run this at all? Asked before anything starts, since Ray would wait for ever."""

from __future__ import annotations

from collections.abc import Mapping

from dpo_core.errors import SettingsError
from sweeps.config import ResourceSettings


def check_resources(
    wanted: ResourceSettings, concurrent: int, cluster: Mapping[str, float]
) -> None:
    """Raises SettingsError with the numbers. `cluster` is `ray.cluster_resources()`."""
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
