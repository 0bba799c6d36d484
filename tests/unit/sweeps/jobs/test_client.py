"""Attempts at a sweep among the jobs of a cluster; the rest needs a cluster, see test_jobs.py."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from sweeps.jobs.client import Job, Jobs, _attempts, _free_name
from sweeps.jobs.submission import Attempt


def job(name: str, number: int | None, sweep: str = "mine") -> Job:
    attempt = None if number is None else Attempt(sweep, number, None, None)
    return Job(name, "STOPPED", None, "", attempt, 0.0, 1.0, {})


def test_a_sweep_that_ray_job_submit_began_goes_on_under_its_own_id() -> None:
    plain = job("raysubmit_x", 0)
    assert _attempts([job("other", 1, "other"), plain, job("alien", None)], "mine") == [plain]
    assert _free_name([plain], "mine") == (1, "mine")


def test_an_id_that_another_job_has_is_not_taken_twice() -> None:
    assert _free_name([job("mine", 0)], "mine") == (2, "mine-try2")
    assert _free_name([job("mine", None), job("mine-try2", None)], "mine") == (3, "mine-try3")
    assert _free_name([job("mine", 1), job("mine-try2", 2)], "mine") == (3, "mine-try3")


def test_attempts_come_in_their_order() -> None:
    jobs = [job("mine-try2", 2), job("mine", 1), job("raysubmit_x", 0)]
    assert [each.job_id for each in _attempts(jobs, "mine")] == ["raysubmit_x", "mine", "mine-try2"]


class Cluster:
    """The Jobs API of a cluster, as far as `best` uses it; its jobs succeed at once."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}

    def submit_job(
        self, *, entrypoint: str, submission_id: str, runtime_env: Any, metadata: dict[str, str]
    ) -> None:
        now = 1000 * time.time()
        self.jobs[submission_id] = SimpleNamespace(
            submission_id=submission_id,
            status=SimpleNamespace(value="SUCCEEDED"),
            driver_exit_code=0,
            message="",
            metadata=metadata,
            entrypoint=entrypoint,
            start_time=now,
            end_time=now,
            runtime_env=runtime_env,
        )

    def list_jobs(self) -> list[Any]:
        return list(self.jobs.values())

    def get_job_logs(self, name: str) -> str:
        return '{\n "sweep": "mine"}'

    def delete_job(self, name: str) -> None:
        ended_s = self.jobs[name].end_time / 1000
        assert time.time() - ended_s > 10, "Ray would list it again, as a job that failed"
        del self.jobs[name]


def test_best_leaves_the_last_job_that_read_and_deletes_those_before() -> None:
    jobs, cluster = object.__new__(Jobs), Cluster()
    jobs.address, jobs.client = "http://head:8265", cluster
    of_sweep = {
        "dpo_sweeps_id": "mine",
        "dpo_sweeps_attempt": "1",
        "dpo_sweeps_config_sha256": "x",
        "dpo_sweeps_folder": "/runs/mine",
    }
    cluster.submit_job(entrypoint="run", submission_id="mine", runtime_env={}, metadata=of_sweep)
    for _ in range(2):
        assert jobs.selection("mine") == {"sweep": "mine"}
    assert len(cluster.jobs) == 3, "those that have just ended stay"
    for each in cluster.jobs.values():
        each.end_time -= 60_000
    jobs.selection("mine")
    assert len(cluster.jobs) == 2
    assert "mine" in cluster.jobs
