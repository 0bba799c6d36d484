"""A client of Ray's Jobs API: submits sweeps as jobs, lists, follows and stops them.

It also handles jobs of `ray job submit`, whose sweep is known where their command has `--id`.
Tested in tests/integration/test_jobs.py, with a real cluster.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpo_core.errors import UserError
from sweeps.jobs.submission import Attempt, Submission, entrypoint, job_name

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from sweeps.run_dir.json_types import SelectionJson

SUCCEEDED, FAILED, STOPPED = "SUCCEEDED", "FAILED", "STOPPED"
_POLL_S = 0.5
# Ray kills a job 60 s after a stop request.
_STOP_S = 90.0
_READ_S = 180.0
# Ray looks every second whether a job's process is there, and lists a job as failed that was deleted
# in between.
_DELETED_AFTER_S = 30.0
_READER = "dpo_sweeps_reads"
# Exit codes of a `run` that would end the same way again: all trials failed, no admissible candidate.
_FINAL_EXIT_CODES = (3, 4)


class JobsError(UserError):
    """The cluster refused a request, or does not answer."""


@dataclass(frozen=True)
class Job:
    """A submitted job as the Jobs API describes it. Times are UNIX seconds."""

    job_id: str
    status: str
    exit_code: int | None
    message: str
    attempt: Attempt | None
    started_s: float | None
    ended_s: float | None
    runtime_env: Mapping[str, object]
    is_reader: bool = False
    """Whether it reads the selection of a sweep for `Jobs.selection`."""

    @classmethod
    def from_details(cls, details: JobDetails) -> Job:
        """Take over what the Jobs API returned."""
        seconds = [t and t / 1000 for t in (details.start_time, details.end_time)]
        return cls(
            job_id=details.submission_id,
            status=details.status.value,
            exit_code=details.driver_exit_code,
            message=(details.message or "").partition("\n")[0],
            attempt=Attempt.of_job(details.metadata, details.entrypoint),
            started_s=seconds[0],
            ended_s=seconds[1],
            runtime_env=details.runtime_env or {},
            is_reader=_READER in (details.metadata or {}),
        )

    @property
    def has_ended(self) -> bool:
        """Tell whether the job succeeded, failed or was stopped."""
        return self.status in (SUCCEEDED, FAILED, STOPPED)

    @property
    def can_be_resumed(self) -> bool:
        """Tell whether another attempt could get further."""
        return self.status == STOPPED or (
            self.status == FAILED and self.exit_code not in _FINAL_EXIT_CODES
        )


class Jobs:
    """The Jobs API of one cluster. Every method raises JobsError when the cluster does."""

    def __init__(self, address: str) -> None:
        """Connect to the dashboard at `address`, as in http://HEAD:8265."""
        if not address.startswith(("http://", "https://")):
            raise JobsError(f"--address {address}: must be the dashboard's, as in http://HEAD:8265")
        from ray.job_submission import JobSubmissionClient

        self.address = address
        with self._readable_errors(), _no_other_address():
            self.client = JobSubmissionClient(address)

    def all(self) -> list[Job]:
        """Return the submitted jobs, oldest first."""
        with self._readable_errors():
            listed = self.client.list_jobs()
        jobs = [Job.from_details(details) for details in listed if details.submission_id]
        return sorted(jobs, key=lambda job: job.started_s or 0)

    def of_sweep(self, sweep_id: str) -> list[Job]:
        """Return the attempts at a sweep, in order."""
        return _attempts(self.all(), sweep_id)

    def find(self, name: str) -> Job:
        """Return the last attempt at the sweep of that id, or the job of that id."""
        attempts = self.of_sweep(name)
        if attempts:
            return attempts[-1]
        named = next((job for job in self.all() if job.job_id == name), None)
        if named is None:
            raise JobsError(
                f"{name}: {self.address} knows no such sweep or job; `dpo-sweeps list` shows them"
            )
        return named

    def submit(
        self,
        submission: Submission,
        *,
        entrypoint_num_cpus: float = 0,
        entrypoint_resources: Mapping[str, float] | None = None,
    ) -> tuple[Job, bool]:
        """Submit a sweep, unless it waits, runs or has ended.

        A sweep that was stopped or failed is submitted again, and goes on in its run directory.

        Args:
            submission: the sweep as a job.
            entrypoint_num_cpus: CPUs that the sweep's driver holds.
            entrypoint_resources: custom resources of the node that runs the driver.

        Returns:
            The sweep's job, and whether it is a new one.

        Raises:
            JobsError: the sweep has a job with another config, or the cluster refuses.
        """
        jobs = self.all()
        attempts = _attempts(jobs, submission.sweep_id)
        if attempts and not attempts[-1].can_be_resumed:
            return _same(attempts[-1], submission), False
        number, name = _free_name(jobs, submission.sweep_id)
        try:
            with submission.upload.staged() as folder, self._readable_errors():
                self.client.submit_job(
                    entrypoint=submission.entrypoint,
                    submission_id=name,
                    runtime_env={**submission.runtime_env, "working_dir": str(folder)},
                    metadata=submission.metadata(number),
                    entrypoint_num_cpus=entrypoint_num_cpus,
                    entrypoint_resources=(
                        None if entrypoint_resources is None else dict(entrypoint_resources)
                    ),
                )
        except JobsError as error:
            if "already exists" not in str(error):
                raise
            return _same(self.find(name), submission), False  # another client submitted it first
        return self.find(name), True

    def logs(self, job: Job) -> str:
        """Return the log of a job so far."""
        with self._readable_errors():
            return str(self.client.get_job_logs(job.job_id))

    async def follow(self, job: Job) -> AsyncIterator[str]:
        """Yield pieces of the log as they come, until the job has ended."""
        with self._readable_errors():
            async for piece in self.client.tail_job_logs(job.job_id):
                yield piece

    def stop(self, job: Job) -> Job:
        """Ask a job to end as Ctrl-C does, and wait until it has ended."""
        with self._readable_errors():
            self.client.stop_job(job.job_id)
        return self.wait(job, _STOP_S)

    def wait(self, job: Job, seconds: float) -> Job:
        """Return the job once it has ended, or as it is after so many seconds."""
        deadline = time.monotonic() + seconds
        while not job.has_ended and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            with self._readable_errors():
                job = Job.from_details(self.client.get_job_info(job.job_id))
        return job

    def selection(self, name: str) -> SelectionJson:
        """Return selection.json of a sweep, read by a job: this machine may not reach its storage."""
        job = self.find(name)
        if job.attempt is None or job.attempt.folder is None:
            raise JobsError(f"{name}: was not submitted by dpo-sweeps; give the sweep's folder")
        self._delete_readers()
        reader = f"best-{name}-{uuid.uuid4().hex[:8]}"
        with self._readable_errors():
            self.client.submit_job(
                # What it cannot read is told by its log; a failed job would only be in the way.
                entrypoint=entrypoint(["best", job.attempt.folder, "--json"], may_fail=True),
                submission_id=reader,
                # Ray deletes an uploaded folder some minutes after its job has ended.
                runtime_env={k: v for k, v in job.runtime_env.items() if k != "working_dir"},
                metadata={_READER: name},
            )
        done = self.wait(self.find(reader), _READ_S)
        log = self.logs(done)
        start = log.find("{\n")
        if done.status != SUCCEEDED or start < 0:
            last_line = (log.strip().splitlines() or [done.message])[-1]
            raise JobsError(f"{name}: {last_line.removeprefix('error: ')}")
        selection: SelectionJson = json.JSONDecoder().raw_decode(log[start:])[0]
        return selection

    def _delete_readers(self) -> None:
        """Delete the jobs that read a selection earlier; the last one stays until the next call."""
        before = time.time() - _DELETED_AFTER_S
        for job in self.all():
            if job.is_reader and job.has_ended and (job.ended_s or 0) < before:
                with self._readable_errors():
                    self.client.delete_job(job.job_id)

    @contextlib.contextmanager
    def _readable_errors(self) -> Iterator[None]:
        """Turn what Ray's client raises into a JobsError of one line."""
        import aiohttp
        import ray.exceptions
        import requests

        try:
            yield
        except ray.exceptions.AuthenticationError as error:
            reason = re.split(r"\n|\. ", str(error))[0]  # then comes Ray's advice, a paragraph
            raise JobsError(
                f"{self.address}: {reason}; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to a file "
                "with the cluster's token"
            ) from None
        except (ConnectionError, aiohttp.ClientError, requests.RequestException) as error:
            raise JobsError(
                f"{self.address}: does not answer ({type(error).__name__}); is it the dashboard's "
                "address, and a tunnel open? `ray dashboard cluster.yaml` opens one"
            ) from None
        except (RuntimeError, ValueError) as error:
            # Ray puts the server's traceback into the text; its last line is the error.
            lines = [line for line in str(error).splitlines() if line.strip(" .")]
            last_line = lines[-1] if lines else type(error).__name__
            raise JobsError(f"{self.address}: {last_line}") from None


@contextlib.contextmanager
def _no_other_address() -> Iterator[None]:
    """Unset the variables that Ray's client prefers to the address it is given."""
    values = {n: os.environ.pop(n, None) for n in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in values.items() if value is not None})


def _attempts(jobs: Iterable[Job], sweep_id: str) -> list[Job]:
    numbered = [
        (job.attempt.number, job)
        for job in jobs
        if job.attempt and job.attempt.sweep_id == sweep_id
    ]
    return [job for _, job in sorted(numbered, key=lambda pair: pair[0])]


def _free_name(jobs: Sequence[Job], sweep_id: str) -> tuple[int, str]:
    """Return number and id of the next attempt: no other job that was listed has the id."""
    earlier = [job.attempt.number for job in _attempts(jobs, sweep_id) if job.attempt]
    taken = {job.job_id for job in jobs}
    numbers = itertools.count(max(earlier, default=0) + 1)
    return next((n, name) for n in numbers if (name := job_name(sweep_id, n)) not in taken)


def _same(job: Job, submission: Submission) -> Job:
    if job.attempt and job.attempt.digest not in (None, submission.digest):
        ended = (
            f"; or go on with this one, where its folder can be reached: `dpo-sweeps resume "
            f"{submission.folder} --set …`"
        )
        raise JobsError(
            f"{submission.sweep_id}: is {job.status.lower()} with another config; give another --id"
            + (ended if job.has_ended else "")
        )
    return job
