"""Messages on stderr: for a person with a clock, for a job's log with the date, never with secrets."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

from sweeps.cli.log_handlers import (
    LOGGER,
    JobLogHandler,
    TerminalHandler,
    install,
    is_job,
    start_clock,
)

SECRET = "cAnArY-in-the-environment"


@pytest.fixture(autouse=True)
def logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The product's logger, with the handlers, level and propagation that it had afterwards."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    logger = logging.getLogger(LOGGER)
    before = logger.handlers[:], logger.level, logger.propagate
    yield logger
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def test_a_terminal_shows_lines_and_from_its_start_the_clock(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    install(TerminalHandler())
    logger.info("a line [bold]of a user[/bold]")
    start_clock()
    logger.info(f"{SECRET}, postgresql://me:cAnArY@db/study")
    logger.warning("x" * 200)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "a line [bold]of a user[/bold]",
        "  0:00  ***, postgresql://me:***@db/study",
        "  0:00  warning: " + "x" * 200,
    ]


def test_a_jobs_log_has_the_date_of_every_line(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    install(JobLogHandler())
    start_clock()  # changes nothing here
    logger.info(f"t0000 started {SECRET}")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  t0000 started \*\*\*\n", err)


def test_one_handler_serves_however_often_it_is_installed(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    install(TerminalHandler())
    install(TerminalHandler())
    logger.info("once")
    assert capsys.readouterr().err == "once\n"


def test_a_submitted_job_is_known_by_what_ray_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert not is_job()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert is_job()
