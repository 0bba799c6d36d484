"""`dpo-sweeps nightly`: what cron, systemd or Kubernetes starts every evening."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from sweeps.command_line import (
    EXIT_NO_WINNER, EXIT_NOTHING_ADMISSIBLE, AsJson, Overrides, SweepFile
)
