"""Nodes of a cluster die or are taken away: their trial goes on elsewhere, from its last checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.support.driving import end_of, records_in, start, wait_for, write_sweep

pytestmark = [pytest.mark.ray, pytest.mark.integration, pytest.mark.slow]

STEPS, EVALUATIONS = 1000, 10
NOTICE_S = 8


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without CPUs; the dashboard is what Ray Train cleans up with."""
    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500}
    head = {"num_cpus": 0, "include_dashboard": True, "_system_config": soon}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "resources": {"safe": 1}})
    yield cluster
    cluster.shutdown()


def trains_on(cluster: Cluster) -> Any:
    """The node that has a Ray Train worker, if one has."""
    for node in cluster.worker_nodes:
        [raylet] = node.all_processes["raylet"]
        children = psutil.Process(raylet.process.pid).children(recursive=True)
        if any("RayTrainWorker" in " ".join(child.cmdline()) for child in children):
            return node
    return None


@pytest.mark.parametrize(
    ("lanes", "drivers"),
    [(True, "safe"), (False, "spot")],
)
def test_a_dead_node_and_one_that_is_preempted(
    toy_model: Path,
    pairs_file: Path,
    tmp_path: Path,
    cluster: Cluster,
    lanes: bool,
    drivers: str,
) -> None:
    def new_node() -> None:
        cluster.add_node(num_cpus=1, resources={"spot": 1})

    new_node()
    sections = {
        "training": {"max_steps": STEPS, "batch_pairs": 4, "evaluations": EVALUATIONS},
        # One for the death. A notice costs none, unless the trial's driver goes with the node.
        "search": {"trials": 1, "retries": 1 if drivers == "safe" else 2},
        "resources": {"lanes": lanes, "driver_resource": drivers},
    }
    path = write_sweep(tmp_path, toy_model, pairs_file, **sections)
    folder = tmp_path / "runs" / "nodes"
    sweep = start("run", str(path), "--id", "nodes", RAY_ADDRESS=cluster.address)

    def evaluated() -> int:
        return len(list(folder.glob("outcomes/t0000-*")))

    wait_for(lambda: evaluated() >= 1)
    cluster.remove_node(wait_for(lambda: trains_on(cluster)), allow_graceful=False)
    died_at = evaluated()
    new_node()
    wait_for(lambda: evaluated() > died_at)

    new_node()
    leaving = wait_for(lambda: trains_on(cluster))
    preempt(cluster, leaving)
    code, told = end_of(sweep)
    assert code == 0, told
    [record] = records_in(folder)
    assert record.status == "finished"
    every = [STEPS // EVALUATIONS * n for n in range(1, EVALUATIONS + 1)]
    assert [e.step for e in record.evaluations] == every


def preempt(cluster: Cluster, node: Any) -> None:
    """What a cloud's notice becomes: the node drains, and is gone at the deadline."""
    import ray
    from ray.core.generated import autoscaler_pb2

    gcs = ray._raylet.GcsClient(address=cluster.address)
    deadline_ms = int((time.time() + NOTICE_S) * 1000)
    accepted, why = gcs.drain_node(
        node.node_id, autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION, "spot", deadline_ms
    )
    assert accepted, why
    time.sleep(NOTICE_S)
    cluster.remove_node(node, allow_graceful=False)
