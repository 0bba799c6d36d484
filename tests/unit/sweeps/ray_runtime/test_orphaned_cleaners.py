"""Cleaners of dead controllers are found and ended; those of living ones, and other processes, not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from sweeps.ray_runtime.orphaned_cleaners import CLEANER, end_processes, orphans


def actor(name: str, port: int, owner_port: int, *, node: str = "n", detached: bool = True) -> Any:
    address = {"NodeID": node, "IPAddress": "192.0.2.2"}
    return {
        "ActorClassName": name,
        "IsDetached": detached,
        "Address": {**address, "Port": port},
        "OwnerAddress": {**address, "Port": owner_port},
        "Pid": port + 1000,
    }


def test_a_cleaner_without_its_controller_is_an_orphan() -> None:
    alive = [
        actor("TrainController", 1, 0, detached=False),
        actor(CLEANER, 2, owner_port=1),
        actor(CLEANER, 4, owner_port=3),
        actor(CLEANER, 6, owner_port=1, node="m"),  # the same port, on another node
        actor("TrainStateActor", 7, owner_port=3),
        actor(CLEANER, 8, owner_port=3, detached=False),
    ]
    assert orphans(alive) == {"n": [1004], "m": [1006]}
    assert orphans([]) == {}


def test_only_a_process_that_still_is_a_cleaner_is_ended() -> None:
    titles = (f"ray::{CLEANER}", "ray::RayTrainWorker")
    program = ["-c", "import sys; print(flush=True); sys.stdin.read()"]
    processes = [
        subprocess.Popen(
            [title, *program],
            executable=sys.executable,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for title in titles
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    cleaner, other = processes
    assert end_processes([cleaner.pid, other.pid, 2**30]) == 1
    cleaner.communicate(timeout=30)
    assert other.poll() is None
    other.communicate()
