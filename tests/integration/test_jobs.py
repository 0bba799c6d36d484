"""A sweep as a job of a real Ray cluster: once a night, stopped cleanly, gone on with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from dpo_core.storage.json_content import decode_json
from dpo_core.storage.store import Store
from sweeps.cli import app as cli
from sweeps.jobs.client import Job, Jobs, JobsError
from sweeps.jobs.submission import Submission
from sweeps.jobs.upload import Upload
from sweeps.run_dir import ledger
from tests.support.cluster import get
from tests.support.driving import run, wait_for, write_sweep

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """(exit code, stdout, stderr) of the command."""

    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dpo-sweeps", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return (stopped.value.code, *capfd.readouterr())

    return called


@pytest.fixture
def submitted(
    tmp_path: Path, toy_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The storage of a sweep of two trials, whose YAML lies in the working directory."""
    work = tmp_path / "work"
    work.mkdir()
    storage = tmp_path / "storage"
    training = {"max_steps": 100, "batch_pairs": 4, "evaluations": 2}
    write_sweep(work, toy_model, pairs_file, storage=str(storage), training=training)
    monkeypatch.chdir(work)
    return storage


@pytest.mark.ray
@pytest.mark.integration
def test_submit_look_stop_and_go_on(ray_cluster: str, submitted: Path, call: Call) -> None:
    at = ("--address", ray_cluster)
    submit = ("submit", "sweep.yaml", "--id", "night", *at)
    folder = submitted / "night"

    code, out, _ = call(*submit)
    assert code == 0
    assert out.startswith("night: submitted\n")
    code, out, _ = call(*submit, "--json")
    assert code == 0
    assert json.loads(out)["new"] is False, "one night's sweep runs once"
    code, _, err = call(*submit, "--set", "seed=1")
    assert code == 2
    assert "with another config; give another --id" in err

    wait_for(lambda: "t0000 step 50/100" in call("logs", "night", *at)[1])
    assert call("status", "night", *at)[0] == 75
    code, out, _ = call("stop", "night", *at)
    assert (code, out) == (0, "night: stopped\n")
    code, out, _ = call("status", "night", *at)
    assert code == 130
    log = call("logs", "night", *at)[1]
    assert "t0000 step 50/100" in log
    assert "interrupted" in log, "the job ended itself, it was not killed"
    assert "\r" not in log
    assert "Traceback" not in log
    assert not (folder / "ledger.jsonl").exists(), "an interrupted trial has not failed"

    assert call(*submit)[1].startswith("night-try2: submitted\n")
    code, out, _ = call("logs", "-f", "night", *at)
    assert code == 0
    # The worker may have come to the end while its driver was leaving: then nothing is left to do.
    assert "t0000 finished" in out
    assert "t0000 step 50/100" not in out, "it went on from its checkpoint"
    code, out, _ = call("status", "night", *at)
    assert (code, out.splitlines()[1].startswith("2 of 2 trials; best ")) == (0, True), out
    assert [r.trial for r in ledger.read(Store.open(folder), "ledger.jsonl")] == ["t0000", "t0001"]
    code, out, _ = call(*submit)
    assert out.startswith("night-try2: is there already, succeeded\n")

    code, out, _ = call("best", "night", *at, "--json")
    assert code == 0
    assert decode_json(out) == decode_json((folder / "selection.json").read_bytes())
    listed = json.loads(call("list", *at, "--json")[1])
    assert [(row["job"], row["status"]) for row in listed if row["sweep"] == "night"] == [
        ("night", "stopped"),
        ("night-try2", "succeeded"),
    ]
    assert "night-try2" in call("list", *at)[1]
    # Whoever submits with Ray's own command sees the same jobs.
    assert {"night", "night-try2"} <= {
        job["submission_id"] for job in json.loads(get(f"{ray_cluster}/api/jobs/"))
    }


@pytest.mark.ray
def test_a_job_of_ray_itself_is_shown_and_its_exit_code_told(ray_cluster: str, call: Call) -> None:
    jobs = Jobs(ray_cluster)
    jobs.client.submit_job(entrypoint="echo hello; exit 3", submission_id="plain")
    assert jobs.wait(jobs.find("plain"), 60).has_ended
    assert "\nhello\n" in call("logs", "plain", "--address", ray_cluster)[1]
    code, out, _ = call("status", "plain", "--address", ray_cluster)
    assert code == 3
    assert out.startswith("plain: failed   Job entrypoint command failed with exit code 3")
    code, _, err = call("best", "plain", "--address", ray_cluster)
    assert code == 2
    assert "was not submitted by dpo-sweeps" in err
    code, _, err = call("status", "nobody", "--address", ray_cluster)
    assert code == 2
    assert "knows no such sweep or job" in err
    assert call("stop", "plain", "--address", ray_cluster)[0] == 0, "it has ended already"


@pytest.mark.ray
def test_who_comes_second_gets_the_job_of_who_came_first(
    ray_cluster: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = Jobs(ray_cluster)
    (tmp_path / "sweep.yaml").touch()
    upload = Upload(tmp_path, (PurePosixPath("sweep.yaml"),))
    submission = Submission("twice", "exit 1", upload, {}, "digest", "/storage/twice")
    first, is_new = jobs.submit(submission)
    assert is_new
    with monkeypatch.context() as late:
        listed = jobs.all
        before = iter([[]])  # looked before the first one was there
        late.setattr(jobs, "all", lambda: next(before, None) or listed())
        again, is_new = jobs.submit(submission)
    assert (again.job_id, is_new) == ("twice", False)
    jobs.wait(first, 60)
    second, is_new = jobs.submit(submission)
    assert (second.job_id, is_new) == ("twice-try2", True), "a failure may be tried again"
    assert second.attempt is not None
    assert (second.attempt.number, second.attempt.folder) == (2, "/storage/twice")


@pytest.mark.ray
def test_a_wrong_token_is_one_line(ray_cluster: str) -> None:
    """In a process of its own, since Ray keeps the first token it reads."""
    code, told = run("list", "--address", ray_cluster, RAY_AUTH_TOKEN="f" * 64)
    assert code == 2
    assert told.startswith(f"error: {ray_cluster}: ")
    assert "RAY_AUTH_TOKEN_PATH to a file with the cluster's token" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("status", "driver", "code", "again"),
    [
        ("SUCCEEDED", 0, 0, False),
        ("FAILED", 3, 3, False),
        ("FAILED", 4, 4, False),
        ("FAILED", 2, 2, True),
        ("FAILED", None, 1, True),
        ("STOPPED", None, 130, True),
        ("RUNNING", None, 75, False),
        ("PENDING", None, 75, False),
    ],
)
def test_exit_codes_and_who_may_go_on(status: str, driver, code: int, again: bool) -> None:
    from sweeps.cli.job_commands import exit_code

    job = Job("a", status, driver, "", None, None, None, {})
    assert exit_code(job) == code
    assert job.can_be_resumed is again


@pytest.mark.parametrize("address", ["ray://head:10001", "auto", "head:8265", "file:///etc", ""])
def test_only_a_dashboard_is_an_address(address: str) -> None:
    with pytest.raises(JobsError, match="must be the dashboard's"):
        Jobs(address)


def test_a_cluster_that_does_not_answer_is_one_line(call: Call) -> None:
    code, _, err = call("list", "--address", "http://127.0.0.1:9")
    assert code == 2
    assert err.startswith("error: http://127.0.0.1:9: does not answer")
