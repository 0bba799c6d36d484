"""Handlers of the logger `dpo_sweeps`: one for a terminal, one for the log of a Ray job.

Both write to stderr, one line for each message, without secrets: stdout belongs to results.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from sweeps.cli.printable import printable
from sweeps.config.secrets import redact

LOGGER = "dpo_sweeps"


class TerminalHandler(logging.Handler):
    """Lines for a person who watches; with the time since `start_clock` was called."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console(stderr=True)
        self.started: float | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        clock = Text("" if self.started is None else f"{_minutes(self.started)}  ", style="dim")
        self.console.print(clock + Text(message_of(record)), soft_wrap=True, highlight=False)


class JobLogHandler(logging.Handler):
    """Lines for a file that is read later: each with its UTC time, and no markup."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        when = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        print(f"{when}  {message_of(record)}", file=sys.stderr, flush=True)


def message_of(record: logging.LogRecord) -> str:
    """Return what a record says, without secrets and control characters.

    Warnings and errors say that they are.
    """
    is_news = record.levelno < logging.WARNING
    level = "" if is_news else f"{record.levelname.lower()}: "
    return printable(redact(f"{level}{record.getMessage()}"))


def install(handler: logging.Handler) -> None:
    """Make `handler` the only one of the logger `dpo_sweeps`."""
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def start_clock() -> None:
    """Have the terminal's handler show, from now on, how long ago this call was."""
    for handler in logging.getLogger(LOGGER).handlers:
        if isinstance(handler, TerminalHandler):
            handler.started = time.monotonic()


def is_job() -> bool:
    """Tell whether this process is the driver of a submitted Ray job."""
    return bool(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"))


def _minutes(since: float) -> str:
    elapsed = int(time.monotonic() - since)
    return f"{elapsed // 60:3d}:{elapsed % 60:02d}"
