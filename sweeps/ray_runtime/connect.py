"""Connections to Ray: the cluster of the job or of RAY_ADDRESS, a running local one, or a new one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpo_core.errors import SettingsError
from sweeps.config.secrets import is_secret_name
from sweeps.ray_runtime.auth import require_token
from sweeps.ray_runtime.placement_groups import remove_leftover_groups

log = logging.getLogger("dpo_sweeps")

# For this process and for every worker. The first one shows trials in the dashboard's Train tab.
WORKER_ENV = {
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    # Ray's controller collects reports that often; a worker waits with the next one until it has.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
    "TRANSFORMERS_VERBOSITY": "error",
}
_DRIVER_ENV = {
    # An interrupt ends the sweep, which can be resumed; Tune would swallow it and seem finished.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Connect for the length of the block; a Ray that was connected before stays so."""
    for name, value in {**WORKER_ENV, **_DRIVER_ENV}.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    address = _address()
    if address == "local" and (warning := require_token()):
        log.warning(warning)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            runtime_env={"env_vars": _worker_environment()},
        )
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        raise SettingsError(
            f"Ray cannot be reached ({str(error).strip().splitlines()[0]}); check RAY_ADDRESS, and "
            "RAY_AUTH_TOKEN_PATH if it asks for a token"
        ) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own in place
    _quiet_ray_logs()
    if address != "local":
        remove_leftover_groups()
    try:
        yield
    finally:
        ray.shutdown()


def dashboard_url() -> str | None:
    """Return the address of the connected cluster's dashboard, if it has one."""
    import ray

    url: Any = ray._private.worker.get_dashboard_url()
    return f"http://{url}" if url else None


def in_job_folder() -> bool:
    """Check whether this is a submitted job, whose working directory Ray deletes some day."""
    return any(part.startswith("_ray_pkg_") for part in Path.cwd().parts)


def _address() -> str | None:
    """Choose the address for `ray.init`: "local" starts a new cluster, None connects to an old one.

    A cluster that was killed leaves its address behind. Ray would try it for a minute and then give
    up, so a new cluster is started where nothing answers.
    """
    from ray._private.utils import read_ray_address

    requested = os.environ.get("RAY_ADDRESS")
    if requested:
        return "local" if requested == "local" else None
    running = read_ray_address()
    return None if running and _accepts_connections(running) else "local"


def _accepts_connections(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except (OSError, ValueError):
        return False
    return True


def _worker_environment() -> dict[str, str]:
    """Return the variables for workers, without those of the job's own runtime environment: Ray
    refuses a key that is set twice."""
    import json

    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    set_by_job = (job.get("runtime_env") or {}).get("env_vars") or {}
    path = {"PYTHONPATH": os.environ["PYTHONPATH"]} if os.environ.get("PYTHONPATH") else {}
    return {k: v for k, v in {**WORKER_ENV, **path}.items() if k not in set_by_job}


def _quiet_ray_logs() -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Tune logs the traceback of every trial that fails; the reason is in the ledger.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def keep_secrets_in_driver() -> None:
    """Stop Tune from copying variables with secrets to every trial. Call before trials start."""
    from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE as copied

    copied -= {name for name in copied if name.startswith("AWS_") or is_secret_name(name)}
