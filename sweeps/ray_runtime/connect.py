"""Connections to Ray: that of the job or of RAY_ADDRESS, a local one of this user, or a new one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpo_core.errors import SettingsError, UserError
from sweeps.config.secrets import is_secret_name
from sweeps.ray_runtime.auth import require_token
from sweeps.ray_runtime.head_watch import HeadLost, watched_head
from sweeps.ray_runtime.listeners import host_and_port, why_silent
from sweeps.ray_runtime.local_ray import find_local_ray, private_ray_folder
from sweeps.ray_runtime.orphaned_cleaners import end_orphaned_cleaners
from sweeps.ray_runtime.placement_groups import remove_leftover_groups

log = logging.getLogger("dpo_sweeps")

# For this process and for every worker. The first one lists lanes in the dashboard's API.
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
    # A trial whose driver dies after its last report has nothing to report when it goes on.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_PATIENCE_S = 20
"""How long to wait for a Ray at RAY_ADDRESS, which may just be starting."""
_STARTS, _PAUSE_S = 3, 5.0
_TOO_SLOW = "timed out during startup"
"""What Ray says of a node of its own that did not come up within 30 s."""


class RayDoesNotStart(UserError):
    """A Ray on this machine that did not come up."""


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
    with contextlib.ExitStack() as stack:
        settings = {}
        if address == "local":
            settings["_temp_dir"] = stack.enter_context(private_ray_folder())
            if warning := require_token():
                log.warning(warning)
        on_sigterm = signal.getsignal(signal.SIGTERM)
        _start(address, settings)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own in place
        _quiet_ray_logs()
        if address != "local":
            remove_leftover_groups()
            end_orphaned_cleaners()
        with _ending(), _watch_over_head(address):
            yield


def _start(address: str, settings: dict[str, str]) -> None:
    """Call `ray.init`, again where a busy machine was too slow for Ray's own patience.

    Raises:
        SettingsError: No connection to the address.
        RayDoesNotStart: Ray gave up, for whatever reason.
    """
    import ray

    for start in range(1, _STARTS + 1):
        try:
            if address != "local":
                _wait_until_it_answers(address)
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                runtime_env={"env_vars": _worker_environment()},
                **settings,
            )
            return
        except (ConnectionError, ray.exceptions.AuthenticationError) as error:
            raise SettingsError(
                f"Ray cannot be reached ({_first_line(error)}); check RAY_ADDRESS, and "
                "RAY_AUTH_TOKEN_PATH if it asks for a token; RAY_ADDRESS=local starts a Ray here"
            ) from None
        except Exception as error:
            # Ray raises plain Exception and RuntimeError, whose subclasses may be defects of ours.
            is_rays = isinstance(error, OSError | ray.exceptions.RayError)
            if not is_rays and type(error) not in (Exception, RuntimeError):
                raise
            ray.shutdown()
            if _TOO_SLOW not in str(error) or start == _STARTS:
                raise RayDoesNotStart(
                    f"Ray does not start ({_first_line(error)}); end other work on this machine, look "
                    "at its disk and memory, or set RAY_ADDRESS to a Ray that runs"
                ) from error
            log.warning(f"Ray was too slow to start, attempt {start} of {_STARTS}; trying again")
            time.sleep(_PAUSE_S * start)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Disconnect at the end; without a word with a head that is gone, for which Ray would wait."""
    import ray

    try:
        yield
    except HeadLost:
        threading.Thread(target=ray.shutdown, daemon=True).start()
        raise
    except BaseException:
        ray.shutdown()
        raise
    ray.shutdown()


def _watch_over_head(address: str) -> contextlib.AbstractContextManager[None]:
    import ray

    if address.startswith("ray://"):
        return contextlib.nullcontext()  # Ray's client raises ConnectionError itself
    return watched_head(ray.get_runtime_context().gcs_address)


def dashboard_url() -> str | None:
    """Return the address of the connected cluster's dashboard, if it has one."""
    import ray

    url: Any = ray._private.worker.get_dashboard_url()
    return f"http://{url}" if url else None


def in_job_folder() -> bool:
    """Check whether this is a submitted job, whose working directory Ray deletes some day."""
    return any(part.startswith("_ray_pkg_") for part in Path.cwd().parts)


def _address() -> str:
    """Choose the address for `ray.init`: "local" starts a new cluster.

    Raises:
        SettingsError: RAY_ADDRESS is `auto`, and no Ray of this user runs here.
    """
    requested = os.environ.get("RAY_ADDRESS")
    if requested and requested != "auto":
        return requested
    running = find_local_ray()
    if running.address:
        return running.address
    if requested:
        why = running.refused or "no Ray of yours runs on this machine"
        raise SettingsError(f"RAY_ADDRESS=auto: {why}; give host:port, or unset RAY_ADDRESS")
    if running.refused:
        log.warning(
            f"not joining the Ray that runs here: {running.refused}, and whoever serves a Ray can "
            "run code as you; set RAY_ADDRESS=host:port to join it all the same. Starting a new one"
        )
    return "local"


def _wait_until_it_answers(address: str) -> None:
    """Wait a while for a Ray that is starting; Ray's own patience is ten minutes without a word.

    Raises:
        SettingsError: Nothing listens at the address, or what listens is no Ray.
    """
    import ray

    host, port = host_and_port(address.removeprefix("ray://"))
    way_out = "; start that Ray, correct RAY_ADDRESS (host:port), or unset it to start one here"
    if port is None:
        raise SettingsError(f"RAY_ADDRESS={address}: is not host:port{way_out}")
    until = time.monotonic() + _PATIENCE_S
    while (reason := why_silent(host, port)) is not None:
        if time.monotonic() > until:
            raise SettingsError(
                f"RAY_ADDRESS={address}: nothing answers within {_PATIENCE_S} s ({reason}){way_out}"
            )
        time.sleep(1)
    if not address.startswith("ray://"):
        try:
            raylet: Any = ray._raylet
            raylet.GcsClient(address=address)
        except ray.exceptions.RpcError as error:
            raise SettingsError(
                f"RAY_ADDRESS={address}: no Ray answers there ({error}){way_out}"
            ) from None


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
