"""Attempts at a sweep among the jobs of a cluster; the rest needs a cluster, see test_jobs.py."""

from __future__ import annotations

from sweeps.jobs.client import Job, _attempts, _free_name
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
