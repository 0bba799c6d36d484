"""Temporary files of one user cannot be read or changed by other users of the machine."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dpo_core.errors import SettingsError
from dpo_core.storage import private_tmp
from dpo_core.storage.private_tmp import (
    own_folder,
    own_tmp_folder,
    private_tmp_folder,
    temporary_folder,
    use_own_tmp_folder,
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(private_tmp, "_used", {})
    return tmp_path


def test_it_is_made_once_for_its_owner_alone(temporary: Path) -> None:
    folder = private_tmp_folder()
    assert folder == private_tmp_folder() == temporary / f"dpo-sweeps-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_one_that_is_open_to_others_is_closed(temporary: Path) -> None:
    (temporary / f"dpo-sweeps-{os.getuid()}").mkdir(mode=0o777)
    assert stat.S_IMODE(private_tmp_folder().stat().st_mode) == 0o700


def test_a_link_is_refused(temporary: Path) -> None:
    (temporary / "elsewhere").mkdir()
    (temporary / f"dpo-sweeps-{os.getuid()}").symlink_to(temporary / "elsewhere")
    with pytest.raises(SettingsError, match="set TMPDIR"):
        private_tmp_folder()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_another_users_folder_is_refused(temporary: Path) -> None:
    folder = temporary / f"dpo-sweeps-{os.getuid()}"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(SettingsError, match="belongs to another user"):
        private_tmp_folder()


def test_a_run_has_all_its_temporary_files_in_one_folder(temporary: Path) -> None:
    with own_tmp_folder():
        own = own_folder()
        assert own is not None
        assert own.parent == private_tmp_folder() == temporary / f"dpo-sweeps-{os.getuid()}"
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
        library = tempfile.mkdtemp(prefix="pymp-")
        child = [sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp())"]
        of_child = subprocess.check_output(child, text=True).strip()
        assert Path(library).parent == Path(of_child).parent == own
        assert temporary_folder() == temporary, "of other programs, as `ray start`"
    assert not own.exists()
    assert own_folder() is None
    assert (os.environ["TMPDIR"], tempfile.gettempdir()) == (str(temporary), str(temporary))


RUN = """
import os, sys, tempfile
from dpo_core.storage.private_tmp import own_tmp_folder, use_own_tmp_folder

with own_tmp_folder():
    if len(sys.argv) == 1:
        tempfile.mkdtemp()
        print(tempfile.gettempdir(), flush=True)
        sys.stdin.read()
"""


def test_what_a_killed_run_leaves_goes_with_the_next_start(temporary: Path) -> None:
    others = [temporary / name for name in ("pymp-abc", "tmpabc", "dpo-sweeps-0-of-somebody")]
    private = private_tmp_folder()
    others += [private / "copies", private / "session_latest"]
    for other in others:
        other.mkdir()
    run = subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    folder = Path(run.stdout.readline().strip())
    assert [each.name[:3] for each in folder.iterdir()] == ["tmp"]
    subprocess.run([sys.executable, "-c", RUN, "another run"], check=True)
    assert folder.exists(), "it runs"
    run.kill()
    run.communicate()
    subprocess.run([sys.executable, "-c", RUN, "another run"], check=True)
    assert not folder.exists()
    assert all(map(Path.exists, others)), "anybody's"
    assert sorted(each.name for each in private.iterdir()) == ["copies", "session_latest"]


def test_what_a_worker_still_uses_outlives_the_run_that_was_killed(temporary: Path) -> None:
    folder = private_tmp_folder() / f"{private_tmp.HOST_TAG}abcd"
    folder.mkdir()
    tempfile.tempdir = str(folder)  # as the worker's TMPDIR says
    use_own_tmp_folder()
    tempfile.tempdir = str(temporary)
    with own_tmp_folder():
        assert folder.exists()
    os.close(private_tmp._used[folder])
    with own_tmp_folder():
        assert not folder.exists()


def test_a_worker_that_no_run_of_this_machine_has_started_gets_its_own(temporary: Path) -> None:
    use_own_tmp_folder()
    own = own_folder()
    assert own is not None
    assert os.environ["TMPDIR"] == str(own)
    use_own_tmp_folder()
    assert own_folder() == own
    tempfile.tempdir = str(temporary)
    with own_tmp_folder():
        assert own.exists()


def test_links_and_folders_of_other_machines_stay(temporary: Path) -> None:
    private = private_tmp_folder()
    (temporary / "elsewhere").mkdir()
    (private / f"{private_tmp.HOST_TAG}abcd").symlink_to(temporary / "elsewhere")
    (private / "0000000").mkdir()
    with own_tmp_folder():
        assert len(list(private.iterdir())) == 3
    assert (temporary / "elsewhere").exists()


def test_a_command_runs_where_no_folder_can_be_made(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/no-folder")
    with own_tmp_folder():
        assert own_folder() is None
