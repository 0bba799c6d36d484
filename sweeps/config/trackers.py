"""Settings of trackers (MLflow, W&B); their keys come from the environment.

Tested in tests/unit/sweeps/trials/test_trackers.py.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping

from pydantic import Field, field_validator

from dpo_core.errors import SettingsError
from dpo_core.settings import Settings
from sweeps.config.secrets import password_in


class TrackerSettings(Settings):
    """Trackers besides TensorBoard, whose files Ray writes anyway.

    One that does not answer costs a warning and never a trial.
    """

    mlflow: str | None = Field(None, min_length=1)
    """Tracking URI: `http://…`, `sqlite:////…`; the experiment is the sweep's name."""
    wandb: str | None = Field(None, min_length=1)
    """Project of Weights & Biases; each trial is a run, grouped by sweep."""

    @field_validator("mlflow")
    @classmethod
    def _without_password(cls, value: str | None) -> str | None:
        if value and password_in(value):
            raise ValueError(
                "the URI holds a password, and a config is copied and shown; leave it out and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        return value


def check_trackers(trackers: TrackerSettings, environment: Mapping[str, str] = os.environ) -> None:
    """Raise a SettingsError when a tracker's package is missing, or the key of W&B."""
    for name in ("mlflow", "wandb"):
        if getattr(trackers, name) and not importlib.util.find_spec(name):
            raise SettingsError(
                f"trackers.{name}: the package {name} is not installed; "
                f"pip install 'dpo-sweeps[{name}]' on the node that runs the sweep's driver"
            )
    offline = environment.get("WANDB_MODE") in ("offline", "disabled")
    if trackers.wandb and not offline and not environment.get("WANDB_API_KEY"):
        raise SettingsError(
            "trackers.wandb: there is no WANDB_API_KEY; set it in the environment of the cluster's "
            "nodes (never in a job's runtime environment, which the Jobs API shows), or set "
            "WANDB_MODE=offline"
        )
