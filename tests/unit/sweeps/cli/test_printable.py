"""No control character of foreign text reaches a terminal."""

from __future__ import annotations

import ast
import json
import logging
from pathlib import Path

import pytest
from rich.table import Table

import sweeps.cli
from sweeps.cli.log_handlers import JobLogHandler, TerminalHandler
from sweeps.cli.options import print_json, stdout_console
from sweeps.cli.printable import print_line, printable

HOSTILE = "\x1b[2J\x1b]0;owned\x07safe\r\x9b31m\x08\u202e\x7f"
HARMLESS = "[2J]0;ownedsafe31m"


def test_only_line_ends_and_tabs_stay() -> None:
    assert printable(HOSTILE) == HARMLESS
    assert printable("café\t日本\n") == "café\t日本\n"


def test_lines_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(HOSTILE)
    table = Table()
    table.add_column(HOSTILE)
    stdout_console().print(table)
    out = capsys.readouterr().out
    assert out.count(HARMLESS) == 2
    assert printable(out) == out


def test_json_holds_the_same_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"answer": HOSTILE})
    out = capsys.readouterr().out
    assert printable(out) == out
    assert json.loads(out) == {"answer": HOSTILE}


@pytest.mark.parametrize("handler", [JobLogHandler, TerminalHandler])
def test_log_lines(handler: type[logging.Handler], capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("dpo_sweeps", logging.INFO, "", 0, HOSTILE, None, None)
    handler().emit(record)
    err = capsys.readouterr().err
    assert HARMLESS in err
    assert printable(err) == err


def test_commands_print_through_it() -> None:
    """`print` stands only where what it prints has been stripped."""
    allowed = {"printable.py", "log_handlers.py", "options.py"}
    for file in Path(*sweeps.cli.__path__).glob("*.py"):
        if file.name in allowed:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                assert any(each.arg == "file" for each in node.keywords), (file.name, node.lineno)
