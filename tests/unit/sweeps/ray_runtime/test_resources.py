"""Can the cluster run it? The answer has the numbers and the way out."""

from __future__ import annotations

import pytest

from dpo_core.errors import SettingsError
from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime.resources import check_resources, driver_bundle

CLUSTER = {"CPU": 8.0, "GPU": 2.0, "memory": 1e10}


def wanted(**changes: object) -> ResourceSettings:
    return ResourceSettings(**{"workers": 2, "cpus_per_worker": 2, **changes})


def complaint(concurrent: int, cluster: dict[str, float], **changes: object) -> str:
    with pytest.raises(SettingsError) as caught:
        check_resources(wanted(**changes), concurrent, cluster)
    return str(caught.value)


@pytest.mark.parametrize(
    ("concurrent", "changes"),
    [
        (1, {}),  # 2 · 2 · 1 = 4 of 8 CPUs
        (2, {}),  # 2 · 2 · 2 = 8 of 8 CPUs
        (4, {"cpus_per_worker": 1}),
        (2, {"gpus_per_worker": 0.5}),  # 0.5 · 2 · 2 = 2 of 2 GPUs
    ],
)
def test_what_fits(concurrent: int, changes: dict) -> None:
    check_resources(wanted(**changes), concurrent, CLUSTER)


def test_fewer_trials_at_a_time_would_do() -> None:
    assert complaint(3, CLUSTER) == (
        "resources.cpus_per_worker: 2 x 2 workers x 3 trials at a time need 12 CPUs and the "
        "cluster has 8; set search.concurrent to 2, or set resources.autoscaling: true if it can "
        "grow"
    )


def test_not_even_one_trial_fits() -> None:
    assert complaint(1, CLUSTER, cpus_per_worker=4.5) == (
        "resources.cpus_per_worker: 4.5 x 2 workers x 1 trials at a time need 9 CPUs and the "
        "cluster has 8; lower resources.cpus_per_worker or resources.workers, or set "
        "resources.autoscaling: true if it can grow"
    )


def test_no_gpu_at_all() -> None:
    assert complaint(1, {"CPU": 8.0}, gpus_per_worker=1) == (
        "resources.gpus_per_worker: 1 x 2 workers x 1 trials at a time need 2 GPUs and the "
        "cluster has 0; lower resources.gpus_per_worker or resources.workers, or set "
        "resources.autoscaling: true if it can grow"
    )


def test_the_way_out_works() -> None:
    said = complaint(9, CLUSTER)
    fits = int(said.partition("set search.concurrent to ")[2].partition(",")[0])
    check_resources(wanted(), fits, CLUSTER)
    complaint(fits + 1, CLUSTER)


def test_a_cluster_that_grows_is_not_asked() -> None:
    check_resources(wanted(autoscaling=True, gpus_per_worker=8), 9, {})


def test_a_drivers_node_that_does_not_exist_is_refused_even_where_the_cluster_can_grow() -> None:
    told = complaint(1, CLUSTER, driver_resource="driver", autoscaling=True)
    assert told == (
        "resources.driver_resource: no node has 'driver'; start the head with "
        "`ray start --head --resources='{\"driver\": 1}'`, or drop the key"
    )
    check_resources(wanted(driver_resource="driver"), 1, {**CLUSTER, "driver": 1.0})


def test_a_driver_takes_no_cpu_and_one_unit_serves_many() -> None:
    assert driver_bundle(wanted()) == {"CPU": 0, "memory": 1}
    bound = driver_bundle(wanted(driver_resource="driver"))
    assert bound["CPU"] == 0
    assert 0 < bound["driver"] <= 0.001
