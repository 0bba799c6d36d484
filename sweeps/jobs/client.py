"""Jobs of a Ray cluster, through its Jobs API: submit, look, follow, stop.

All this works with jobs of `ray job submit` as well; only those of `submit` know their sweep, and
are found by its id.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dpo_core.errors import UserError
from sweeps.jobs.submission import Attempt, Submission, job_name

SUCCEEDED, FAILED, STOPPED = "SUCCEEDED", "FAILED", "STOPPED"
_POLL_S = 0.5
# After a stop Ray grants a sweep 60 s; then it kills it.
_STOP_S = 90.0
_READ_S = 180.0
# `run` ended, and would end the same way again: all trials failed, nothing admissible.
_ENDED_WITH = (3, 4)


class JobsError(UserError):
    """The cluster refused, or does not answer."""


@dataclass(frozen=True)
class Job:
    """A submitted job as the cluster tells it. Times are UNIX seconds."""

    job_id: str
    status: str
    exit_code: int | None
    message: str
    attempt: Attempt | None
    started_s: float | None
    ended_s: float | None
    runtime_env: Mapping[str, Any]

    @classmethod
    def of(cls, details: Any) -> Job:
        seconds = [t and t / 1000 for t in (details.start_time, details.end_time)]
        return cls(
            job_id=details.submission_id,
            status=details.status.value,
            exit_code=details.driver_exit_code,
            message=(details.message or "").partition("\n")[0],
            attempt=Attempt.of(details.metadata),
            started_s=seconds[0],
            ended_s=seconds[1],
            runtime_env=details.runtime_env or {},
        )

    @property
    def has_ended(self) -> bool:
        return self.status in (SUCCEEDED, FAILED, STOPPED)

    @property
    def can_go_on(self) -> bool:
        """Whether another attempt could get further."""
        return self.status == STOPPED or (
            self.status == FAILED and self.exit_code not in _ENDED_WITH
        )


class Jobs:
    """The Jobs API of one cluster. Every method raises JobsError when the cluster does."""

    def __init__(self, address: str) -> None:
        """`address` is the dashboard's, as in http://HEAD:8265."""
        if not address.startswith(("http://", "https://")):
            raise JobsError(f"--address {address}: must be the dashboard's, as in http://HEAD:8265")
        from ray.job_submission import JobSubmissionClient

        self.address = address
        with self._asked(), _no_other_address():
            self.client = JobSubmissionClient(address)

    def all(self) -> list[Job]:
        """Jobs that somebody submitted, oldest first."""
        with self._asked():
            found = self.client.list_jobs()
        jobs = [Job.of(details) for details in found if details.submission_id]
        return sorted(jobs, key=lambda job: job.started_s or 0)

    def of_sweep(self, sweep_id: str) -> list[Job]:
        """Its attempts, in order."""
        own = [
            (j.attempt.number, j)
            for j in self.all()
            if j.attempt and j.attempt.sweep_id == sweep_id
        ]
        return [job for _, job in sorted(own, key=lambda pair: pair[0])]

    def find(self, name: str) -> Job:
        """The last attempt of a sweep, or the job of that id."""
        attempts = self.of_sweep(name)
        if attempts:
            return attempts[-1]
        found = next((job for job in self.all() if job.job_id == name), None)
        if found is None:
            raise JobsError(
                f"{name}: {self.address} knows no such sweep or job; `dpo-sweeps list` shows them"
            )
        return found

    def submit(self, submission: Submission, **entrypoint: Any) -> tuple[Job, bool]:
        """The sweep's job, and whether it is a new one.

        A sweep that waits, runs or has ended is left alone; one that was stopped or failed is
        submitted again and goes on in its folder. `entrypoint` are the resources of the entry point.
        """
        attempts = self.of_sweep(submission.sweep_id)
        if attempts and not attempts[-1].can_go_on:
            return _same(attempts[-1], submission), False
        number = len(attempts) + 1
        name = job_name(submission.sweep_id, number)
        try:
            with self._asked():
                self.client.submit_job(
                    entrypoint=submission.entrypoint,
                    submission_id=name,
                    runtime_env=dict(submission.runtime_env),
                    metadata=submission.metadata(number),
                    **entrypoint,
                )
        except JobsError as error:
            if "already exists" not in str(error):
                raise
            return _same(self.find(name), submission), False  # somebody was faster
        return self.find(name), True

    def logs(self, job: Job) -> str:
        with self._asked():
            return str(self.client.get_job_logs(job.job_id))

    async def follow(self, job: Job) -> AsyncIterator[str]:
        """Pieces of the log as they come, until the job has ended."""
        with self._asked():
            async for piece in self.client.tail_job_logs(job.job_id):
                yield piece

    def stop(self, job: Job) -> Job:
        """Ask it to end as Ctrl-C does, and wait until it has."""
        with self._asked():
            self.client.stop_job(job.job_id)
        return self.wait(job, _STOP_S)

    def wait(self, job: Job, seconds: float) -> Job:
        """The job when it has ended, or as it is after so long."""
        deadline = time.monotonic() + seconds
        while not job.has_ended and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            with self._asked():
                job = Job.of(self.client.get_job_info(job.job_id))
        return job

    def selection(self, name: str) -> dict[str, Any]:
        """selection.json of a sweep, read by the cluster, whose storage may be out of reach here."""
        job = self.find(name)
        if job.attempt is None:
            raise JobsError(f"{name}: was not submitted by dpo-sweeps; give the sweep's folder")
        reader = f"best-{name}-{uuid.uuid4().hex[:8]}"
        with self._asked():
            self.client.submit_job(
                entrypoint=shlex.join(
                    ["python", "-m", "sweeps", "best", job.attempt.folder, "--json"]
                ),
                submission_id=reader,
                # The uploaded folder is gone some minutes after the job that brought it.
                runtime_env={
                    k: v for k, v in job.runtime_env.items() if k not in ("working_dir", "excludes")
                },
            )
        done = self.wait(self.find(reader), _READ_S)
        told = self.logs(done)
        if done.has_ended:
            with self._asked():
                self.client.delete_job(reader)
        start = told.find("{\n")
        if done.status != SUCCEEDED or start < 0:
            said = told.strip().splitlines()[-1:] or [done.message]
            raise JobsError(f"{name}: {said[0].removeprefix('error: ')}")
        selection: dict[str, Any] = json.JSONDecoder().raw_decode(told[start:])[0]
        return selection

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        """What Ray's client raises, as one line."""
        import aiohttp
        import ray.exceptions
        import requests

        try:
            yield
        except ray.exceptions.AuthenticationError as error:
            raise JobsError(
                f"{self.address}: {str(error).partition(chr(10))[0]} Set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN_PATH to a file with the cluster's token"
            ) from None
        except (ConnectionError, aiohttp.ClientError, requests.RequestException) as error:
            raise JobsError(
                f"{self.address}: does not answer ({type(error).__name__}); is it the dashboard's "
                "address, and a tunnel open? `ray dashboard cluster.yaml` opens one"
            ) from None
        except (RuntimeError, ValueError) as error:
            # Of a traceback of the server's, which Ray puts into the text and ends with a full stop.
            lines = [line for line in str(error).splitlines() if line.strip(" .")]
            said = lines[-1] if lines else type(error).__name__
            raise JobsError(f"{self.address}: {said}") from None


@contextlib.contextmanager
def _no_other_address() -> Iterator[None]:
    """Ray's client goes where these variables point, whatever address it is given."""
    kept = {n: os.environ.pop(n, None) for n in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in kept.items() if value is not None})


def _same(job: Job, submission: Submission) -> Job:
    if job.attempt is not None and job.attempt.digest != submission.digest:
        raise JobsError(
            f"{submission.sweep_id}: is {job.status.lower()} with another config; give another --id"
        )
    return job
