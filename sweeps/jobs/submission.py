"""What is handed to a cluster as a job: an id, an entry point, files, an environment. No network.

The id is fixed in advance and names both the sweep's folder and the job, so that asking twice for
one night's sweep runs it once, and asking again after a stop goes on in the same folder.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpo_core.errors import SettingsError
from sweeps.config.schema import SweepConfig
from sweeps.config.secrets import holds_secret, is_secret_name
from sweeps.config.strict_yaml import load_yaml
from sweeps.run_dir.paths import checked_sweep_id

# By default `ray job stop` grants 3 s after SIGTERM; a sweep needs some more to save its state.
STOP_ENV = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}

# As in .gitignore, which Ray obeys too. What a job does not need, and what must not travel.
EXCLUDES = (
    ".git/",
    "runs/",
    "dpo-demo/",
    "__pycache__/",
    "node_modules/",
    ".*_cache/",
    ".venv/",
    ".env",
    ".env.*",
    ".netrc",
    "*.pem",
    "*.key",
    ".ssh/",
    ".aws/",
)
_SWEEP, _ATTEMPT, _DIGEST, _FOLDER = (
    f"dpo_sweeps_{name}" for name in ("id", "attempt", "config_sha256", "folder")
)


@dataclass(frozen=True)
class Submission:
    """A sweep as a job. `digest` tells one config from another under the same id."""

    sweep_id: str
    entrypoint: str
    runtime_env: Mapping[str, Any]
    digest: str
    folder: str
    """Of the sweep, as the cluster sees it."""

    def metadata(self, attempt: int) -> dict[str, str]:
        """What the Jobs API keeps beside the job, and the dashboard shows."""
        return {
            _SWEEP: self.sweep_id,
            _ATTEMPT: str(attempt),
            _DIGEST: self.digest,
            _FOLDER: self.folder,
        }


@dataclass(frozen=True)
class Attempt:
    """What a job's metadata says of the sweep that it runs."""

    sweep_id: str
    number: int
    digest: str
    folder: str

    @classmethod
    def of(cls, metadata: Mapping[str, str] | None) -> Attempt | None:
        """None for a job that was not submitted here."""
        given = metadata or {}
        try:
            return cls(given[_SWEEP], int(given[_ATTEMPT]), given[_DIGEST], given[_FOLDER])
        except (KeyError, ValueError):
            return None


def make_submission(
    config: SweepConfig,
    sweep: Path,
    overrides: Sequence[str] = (),
    *,
    sweep_id: str | None = None,
    nightly: bool = False,
    working_dir: Path = Path(),
    excludes: Iterable[str] = (),
    runtime_env: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> Submission:
    """Raises SettingsError on what would be lost on the cluster, or told to everybody there."""
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
        command = ["python", "-m", "sweeps", "nightly", file, "--date", night]
    else:
        command = ["python", "-m", "sweeps", "run", file, "--id", sweep_id, "--resume"]
    for override in overrides:
        command += ["--set", override]
    given = dict(runtime_env or {})
    check_environment(given.get("env_vars", {}))
    return Submission(
        sweep_id=sweep_id,
        entrypoint=shlex.join(command),
        runtime_env={
            **given,
            "working_dir": str(working_dir.resolve()),
            "excludes": [*EXCLUDES, *_virtual_environments(working_dir), *excludes],
            "env_vars": {**STOP_ENV, **given.get("env_vars", {})},
        },
        digest=_digest(config),
        folder=f"{config.storage.rstrip('/')}/{sweep_id}",
    )


def job_name(sweep_id: str, attempt: int) -> str:
    """A job's id cannot be used twice, not even after a stop."""
    return sweep_id if attempt == 1 else f"{sweep_id}-try{attempt}"


def read_runtime_env(path: Path) -> dict[str, Any]:
    """A runtime environment of Ray in YAML: `pip`, `env_vars`, …"""
    try:
        given = load_yaml(path.read_text("utf-8"), source=str(path))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--runtime-env: {error}") from None
    if not isinstance(given, dict) or not isinstance(given.get("env_vars", {}), dict):
        raise SettingsError(f"{path}: must be a mapping, and so must its env_vars")
    ours = sorted({"working_dir", "excludes"} & set(given))
    if ours:
        raise SettingsError(f"{path}: {ours[0]} is an option of `submit`; give it there")
    given["env_vars"] = {str(k): str(v) for k, v in given.get("env_vars", {}).items()}
    return given


def check_environment(variables: Mapping[str, str]) -> None:
    """Ray's Jobs API tells a job's variables to everybody who asks."""
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


def _virtual_environments(folder: Path) -> list[str]:
    return sorted(f"{p.parent.name}/" for p in folder.glob("*/pyvenv.cfg"))


def _digest(config: SweepConfig) -> str:
    tree = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(tree.encode()).hexdigest()
