"""Temporary files of one user cannot be read or changed by other users of the machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dpo_core.errors import SettingsError
from dpo_core.storage.private_tmp import private_tmp_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
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
