"""A sweep as a Ray job: its id, entry point, files and environment. Uses no network.

The id names both the run directory and the job. Submitting one id twice therefore runs the sweep
once, and submitting it again after a stop goes on in the same run directory.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpo_core.errors import SettingsError
from sweeps.config.schema import SweepConfig
from sweeps.config.secrets import holds_secret, is_secret_name
from sweeps.config.strict_yaml import load_yaml
from sweeps.jobs.upload import Upload, check_paths, choose_files
from sweeps.run_dir.paths import checked_sweep_id

# By default `ray job stop` kills a job 3 s after SIGTERM; a sweep needs longer to save its state.
STOP_ENV = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}

_SWEEP, _ATTEMPT, _DIGEST, _FOLDER = (
    f"dpo_sweeps_{name}" for name in ("id", "attempt", "config_sha256", "folder")
)


_PLAIN_COMMAND = re.compile(
    r"(?:-m sweeps|dpo-sweeps)\s+run\s(?:.*\s)?--id[\s=]['\"]?(?P<id>[\w.-]+)"
)
# Ray starts a job with whatever `python` stands on the node's PATH, which need not be the one that runs
# Ray there. That one is the shell's parent, and the libraries it has loaded tell where it is installed.
_FIND_PYTHON = (
    "env=$(sed -n 's|^.* \\(/.*\\)/lib/python[0-9.]*/site-packages/ray/_raylet.*|\\1|p' "
    "/proc/$PPID/maps 2>/dev/null | head -n 1); "
    'python="${env:+$env/bin/}python"; '
    '"$python" -c "import sweeps.cli" 2>/dev/null || { '
    'echo "error: $(command -v "$python" || echo "$python") runs Ray on this node and lacks '
    'dpo-sweeps; install it there: $python -m pip install dpo-sweeps, or submit from a checkout" >&2; '
    "exit 2; }; "
)

RuntimeEnv = dict[str, Any]
"""Ray's runtime environment: `env_vars` maps names to texts; the other keys are Ray's."""


@dataclass(frozen=True)
class Submission:
    """A sweep as a job. `digest` differs between two configs under the same id."""

    sweep_id: str
    entrypoint: str
    upload: Upload
    """The files of the working directory that travel."""
    runtime_env: Mapping[str, object]
    """More of Ray's runtime environment."""
    digest: str
    folder: str
    """The run directory, as a path or URI on the cluster."""

    def metadata(self, attempt: int) -> dict[str, str]:
        """Return the metadata that the Jobs API stores with the job and the dashboard shows."""
        return {
            _SWEEP: self.sweep_id,
            _ATTEMPT: str(attempt),
            _DIGEST: self.digest,
            _FOLDER: self.folder,
        }


@dataclass(frozen=True)
class Attempt:
    """One job of a sweep: its number, and the sweep that it runs."""

    sweep_id: str
    number: int
    """From 1; 0 for a job of `ray job submit`."""
    digest: str | None
    """Of the config; None where the job does not tell."""
    folder: str | None
    """The run directory, on the cluster; None where the job does not tell."""

    @classmethod
    def of_job(cls, metadata: Mapping[str, str] | None, entrypoint: str) -> Attempt | None:
        """Read what a job runs from its metadata, or from the command of `ray job submit`.

        Args:
            metadata: what `Submission.metadata` returned, or anything else.
            entrypoint: the job's command.

        Returns:
            The attempt, or None where neither names a sweep.
        """
        fields = metadata or {}
        try:
            return cls(fields[_SWEEP], int(fields[_ATTEMPT]), fields[_DIGEST], fields[_FOLDER])
        except (KeyError, ValueError):
            match = _PLAIN_COMMAND.search(entrypoint)
            return cls(match["id"], 0, None, None) if match else None


def make_submission(
    config: SweepConfig,
    sweep: Path,
    overrides: Sequence[str] = (),
    *,
    sweep_id: str | None = None,
    nightly: bool = False,
    working_dir: Path = Path(),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    runtime_env: RuntimeEnv | None = None,
    now: datetime | None = None,
) -> Submission:
    """Describe a sweep as a job of a cluster.

    Args:
        config: the sweep.
        sweep: its YAML file, inside `working_dir`.
        overrides: `key=value` of `--set`.
        sweep_id: id of the run directory and the job; by default the name and the UTC date.
        nightly: run `nightly` under the night's date instead of `run`.
        working_dir: the folder that is uploaded; the job starts there.
        include: patterns of files that travel besides those of `choose_files`.
        exclude: patterns of files that do not.
        runtime_env: more of Ray's runtime environment, as `read_runtime_env` returns it.
        now: the time that the default id is made of.

    Returns:
        What `Jobs.submit` submits.

    Raises:
        SettingsError: storage that the cluster would delete, a YAML outside of `working_dir`, data
            or a model that the job would not find, or a secret in the environment, which the Jobs
            API shows to everybody.
    """
    if nightly and sweep_id is not None:
        raise SettingsError("--id: a night is named by its date; leave --id or --nightly out")
    now = now or datetime.now(UTC)
    night = config.nightly.night_of(now).isoformat()
    sweep_id = checked_sweep_id(
        sweep_id or f"{config.name}-{night if nightly else f'{now:%Y%m%d}'}"
    )
    _check_storage(config.storage)
    file = _inside(sweep, working_dir)
    if nightly:
        command = ["nightly", file, "--date", night]
    else:
        command = ["run", file, "--id", sweep_id, "--resume"]
    for override in overrides:
        command += ["--set", override]
    upload = choose_files(working_dir, config, file, include, exclude)
    check_paths(config, upload)
    runtime_env = runtime_env or {}
    env_vars = runtime_env.get("env_vars", {})
    check_environment(env_vars)
    return Submission(
        sweep_id=sweep_id,
        entrypoint=entrypoint(command),
        upload=upload,
        runtime_env={**runtime_env, "env_vars": {**STOP_ENV, **env_vars}},
        digest=_digest(config),
        folder=f"{config.storage.rstrip('/')}/{sweep_id}",
    )


def entrypoint(command: Sequence[str], *, may_fail: bool = False) -> str:
    """Return a shell's line that runs a command of `dpo-sweeps` by the Python that runs Ray there.

    Args:
        command: the command and its arguments.
        may_fail: whether the job succeeds also where the command does not.

    Returns:
        The line.
    """
    line = f'"$python" -m sweeps {shlex.join(command)}'
    return _FIND_PYTHON + (f"{line} || true" if may_fail else f"exec {line}")


def job_name(sweep_id: str, attempt: int) -> str:
    """Return the job's id of an attempt: Ray accepts no id twice, not even after a stop."""
    return sweep_id if attempt == 1 else f"{sweep_id}-try{attempt}"


def read_runtime_env(path: Path) -> RuntimeEnv:
    """Read a runtime environment of Ray in YAML: `pip`, `env_vars`, …; values of variables are text.

    Raises:
        SettingsError: no mapping, or a key that is an option of `submit`.
    """
    try:
        tree = load_yaml(path.read_text("utf-8"), source=str(path))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--runtime-env: {error}") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("env_vars", {}), dict):
        raise SettingsError(f"{path}: must be a mapping, and so must its env_vars")
    options = sorted({"working_dir", "excludes"} & set(tree))
    if options:
        raise SettingsError(f"{path}: {options[0]} is an option of `submit`; give it there")
    tree["env_vars"] = {str(k): str(v) for k, v in tree.get("env_vars", {}).items()}
    return tree


def check_environment(variables: Mapping[str, str]) -> None:
    """Refuse secrets: Ray's Jobs API shows a job's variables to everybody who can reach it."""
    for name, value in variables.items():
        if is_secret_name(name) or holds_secret(str(value)):
            raise SettingsError(
                f"env_vars: {name} looks like a secret, and the Jobs API shows a job's variables to "
                f"everybody; set it on the nodes, or give {name}_FILE, a file that they have"
            )


def _check_storage(storage: str) -> None:
    if "://" not in storage and not Path(storage).is_absolute():
        raise SettingsError(
            f"storage: {storage} would lie in the job's working directory, which Ray removes; give a "
            "path or URI that every node reaches: --set storage=s3://bucket/runs"
        )


def _inside(sweep: Path, working_dir: Path) -> str:
    try:
        return sweep.resolve().relative_to(working_dir.resolve()).as_posix()
    except ValueError:
        raise SettingsError(
            f"{sweep}: lies outside of {working_dir.resolve()}, which is what travels to the "
            "cluster; give another --working-dir"
        ) from None


def _digest(config: SweepConfig) -> str:
    tree = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(tree.encode()).hexdigest()
