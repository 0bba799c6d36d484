"""Errors of disk, storage, model, template and Ray in one line; a defect stays a defect."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

import jinja2
import pyarrow as pa
import pytest
import ray
import safetensors

from dpo_core.errors import DataError, ModelError, StorageError, UserError
from sweeps.cli import app as cli
from sweeps.cli.foreign_errors import foreign_error

HUB = "model-x is not a local folder and is not a valid model identifier\nIf this is a private …"


def of_number(number: int, name: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (of_number(errno.ENOSPC, "/best"), StorageError, r"^/best: No space .*make room .*TMPDIR"),
        (of_number(errno.EDQUOT), StorageError, "quota exceeded; make room"),
        (of_number(errno.EACCES, "/best"), StorageError, "^/best: Permission denied; give a file"),
        (of_number(errno.EPERM, "/best"), StorageError, "^/best: Operation not permitted; give"),
        (of_number(errno.EROFS, "/best"), StorageError, "^/best: Read-only file system; give a f"),
        (of_number(errno.ENOTDIR, "/a/b"), StorageError, "^/a/b: Not a directory; a file stands"),
        (of_number(errno.EMFILE), StorageError, "^Too many open files; raise the limit"),
        (of_number(errno.ECONNREFUSED), StorageError, "^Connection refused; mend what stops"),
        (OSError(HUB), StorageError, "model-x is not .* identifier; mend what stops"),
        (OSError("AWS Error NETWORK_CONNECTION"), StorageError, "AWS Error NETWORK_CONN"),
        (MemoryError(), UserError, "^MemoryError; give this machine more memory"),
        (jinja2.TemplateError("no user turn"), ModelError, "no user turn; the model's chat temp"),
        (safetensors.SafetensorError("header too large"), ModelError, "header too .*fetch them"),
        (pa.ArrowInvalid("magic bytes\nnot found"), StorageError, "magic bytes; a file of tables"),
        (sqlite3.OperationalError("disk I/O error"), StorageError, "disk I/O error; the study"),
        (ray.exceptions.RaySystemError("gone"), UserError, "System error: gone; Ray failed"),
    ],
)
def test_what_is_outside_is_told_in_one_line(
    error: Exception, kind: type[UserError], said: str
) -> None:
    told = foreign_error(error)
    assert type(told) is kind
    with pytest.raises(kind, match=said):
        raise told
    assert "\n" not in str(told)


@pytest.mark.parametrize("error", [ZeroDivisionError(), TypeError("x"), KeyError("y")])
def test_a_defect_is_left_a_defect(error: Exception) -> None:
    assert foreign_error(error) is None
    assert foreign_error(ray.exceptions.RayTaskError("f", "Traceback …", error)) is None


def test_what_a_task_raised_counts_not_that_ray_brought_it() -> None:
    mistake = DataError("row 3: no chosen")
    assert foreign_error(ray.exceptions.RayTaskError("f", "Traceback …", mistake)) is mistake
    full = of_number(errno.ENOSPC, "/tmp/x")
    told = foreign_error(ray.exceptions.RayTaskError("f", "Traceback …", full))
    assert str(told).startswith("/tmp/x: No space left on device")


def test_the_command_ends_with_exit_code_2_and_one_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def command() -> None:
        tempfile.mkdtemp(dir="/proc/\x1b[31mno-folder")

    assert cli._guarded(command) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: /proc/[31mno-folder")
    assert err.count("\n") == 1


def test_a_storage_that_is_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").write_text("")
    assert cli._guarded(lambda: (tmp_path / "runs" / "hh").mkdir()) == 2
    assert "a file stands where a folder belongs" in capfd.readouterr().err
