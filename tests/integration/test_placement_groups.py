"""What a killed job leaves in the cluster is removed by the next sweep that connects."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeps.config.load import load_sweep
from sweeps.ray_runtime.connect import connected
from sweeps.ray_runtime.orphaned_cleaners import end_orphaned_cleaners
from sweeps.ray_runtime.placement_groups import remove_leftover_groups
from sweeps.ray_runtime.remote_call import remote_call_for
from tests.support.cluster import leaked
from tests.support.driving import wait_for, write_sweep

pytestmark = pytest.mark.ray

# An actor that asks for placement groups all the time; its driver says so, and is killed. A byte each:
# a node may go on holding a bundle whose group no table names, and later tests need every CPU.
ASKING = """
import ray, time
from ray.util.placement_group import placement_group
ray.init(log_to_driver=False)

@ray.remote(num_cpus=0)
class Asking:
    def ask(self):
        while True:
            placement_group([{"memory": 1}])
            time.sleep(0.003)

asking = Asking.remote()
asking.ask.remote()
time.sleep(1)
print("asking", flush=True)
time.sleep(60)
"""


def left_by_a_killed_job() -> list[str]:
    driver = subprocess.Popen([sys.executable, "-c", ASKING], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "asking\n"
    driver.kill()
    driver.wait(30)
    try:
        wait_for(lambda: not leaked(), seconds=10, every=1)
    except AssertionError:
        return leaked()
    return []


def test_groups_of_a_dead_job_are_removed_and_those_of_a_living_one_are_not(
    ray_cluster: str,
) -> None:
    assert any(left_by_a_killed_job() for _ in range(5)), "Ray mends this itself now: delete all"
    with connected():
        from ray.util.placement_group import placement_group

        own: Any = placement_group([{"CPU": 0.001}])
        assert own.wait(30)
        assert remove_leftover_groups() == 0, "those of the dead job went when this one connected"
        assert states() == {own.id.hex(): "CREATED"}
    wait_for(lambda: not leaked(), seconds=30, every=1)


def test_groups_of_a_dead_actor_are_removed_and_those_of_a_living_one_are_not(
    ray_cluster: str,
) -> None:
    with connected():
        import ray
        from ray.util.placement_group import placement_group

        class Owner:
            def ask(self) -> str:
                group: Any = placement_group([{"CPU": 0.001}])
                assert group.wait(30)
                return str(group.id.hex())

        dead, alive = (ray.remote(Owner).options(num_cpus=0).remote() for _ in range(2))
        left, kept = ray.get([dead.ask.remote(), alive.ask.remote()])
        ray.kill(dead)
        wait_for(lambda: remove_leftover_groups() == 1, seconds=30)
        assert states() == {kept: "CREATED"}, f"{left} was removed"
    wait_for(lambda: not leaked(), seconds=30, every=1)


def test_a_call_does_not_wait_for_what_a_dead_actor_held(
    ray_cluster: str, tmp_path: Path, pairs_file: Path
) -> None:
    config = load_sweep(write_sweep(tmp_path, tmp_path, pairs_file, resources={"lanes": False}))
    with connected(), ThreadPoolExecutor(1) as pool:
        import ray
        from ray._private.state import actors
        from ray.util.placement_group import placement_group

        class Owner:
            def ask(self) -> None:
                assert placement_group([{"CPU": ray.cluster_resources()["CPU"]}]).wait(30)

        def three() -> int:
            return 3

        owner = ray.remote(Owner).options(num_cpus=0).remote()
        ray.get(owner.ask.remote())
        ray.kill(owner)
        wait_for(lambda: actors(owner._actor_id.hex())["State"] == "DEAD", seconds=30)
        try:
            assert pool.submit(remote_call_for(config), three).result(60) == 3
        finally:
            remove_leftover_groups()  # or the thread would never end
    wait_for(lambda: not leaked(), seconds=30, every=1)


def test_the_cleaner_of_a_dead_controller_is_ended_and_that_of_a_living_one_is_not(
    ray_cluster: str,
) -> None:
    """The cleaner is one that stays, as Ray's does where it cannot ask for its controller's state."""
    with connected():
        import ray

        class PlacementGroupCleaner:
            def pid(self) -> int:
                return os.getpid()

        class Controller:
            def start(self) -> int:
                cleaner = ray.remote(PlacementGroupCleaner).options(lifetime="detached", num_cpus=0)
                self.cleaner = cleaner.remote()
                return int(ray.get(self.cleaner.pid.remote()))

        dead, alive = (ray.remote(Controller).options(num_cpus=0).remote() for _ in range(2))
        left, kept = map(psutil.Process, ray.get([dead.start.remote(), alive.start.remote()]))
        assert end_orphaned_cleaners() == 0
        ray.kill(dead)
        wait_for(lambda: end_orphaned_cleaners() == 1, seconds=30)
        left.wait(30)
        assert kept.is_running()
    with connected():
        kept.wait(30)  # its controller has ended with its driver


def states() -> dict[str, str]:
    from ray.util.placement_group import placement_group_table

    found = placement_group_table().items()
    return {k: group["state"] for k, group in found if group["state"] != "REMOVED"}
