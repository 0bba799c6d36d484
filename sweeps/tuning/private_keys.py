"""Keys of the driver's environment stay there.

Tune copies the driver's AWS keys into the runtime environment of every trial's actor, from where the
dashboard, its API and Ray's logs show them to all. The nodes have keys of their own.
"""

from __future__ import annotations

from sweeps.config.secrets import is_secret_name


def keep_keys_home() -> None:
    """Call before trials start."""
    from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE as copied

    copied -= {name for name in copied if name.startswith("AWS_") or is_secret_name(name)}
