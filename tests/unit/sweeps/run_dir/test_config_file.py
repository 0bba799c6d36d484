"""`config.yaml`: what was written is read back, and whatever is not whole is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_core.errors import SettingsError
from dpo_core.storage.store import Store
from sweeps.run_dir.config_file import read_config, write_config
from sweeps.run_dir.paths import SweepPaths
from tests.support.scripted_nights import night_config


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(Store.open(tmp_path), "hh-1")


def test_what_was_written_is_read_back(paths: SweepPaths) -> None:
    config = night_config(paths.storage.uri)
    write_config(config, paths)
    assert read_config(paths) == config
    assert paths.store.read(paths.config).endswith(b"\n...\n")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is cut off, its last line must be"),
        (b"name: hh\n", "is cut off, its last line must be"),
        (b"name: \xff\n...\n", "byte 6 is no UTF-8, so it is damaged"),
        (b"name: hh\n...\n", "model: is missing"),
        (b"[1]\n...\n", "holds a list; a sweep is a mapping"),
        (b"a: [\n...\n", "config.yaml:2:1: "),
    ],
)
def test_what_is_not_whole_is_refused(paths: SweepPaths, content: bytes, problem: str) -> None:
    paths.store.write(paths.config, content)
    with pytest.raises(SettingsError) as refused:
        read_config(paths)
    assert f"{paths.store.uri}/config.yaml" in str(refused.value)
    assert problem in str(refused.value)


def test_a_cut_off_config_says_how_to_go_on(paths: SweepPaths) -> None:
    write_config(night_config(paths.storage.uri), paths)
    content = paths.store.read(paths.config)
    for length in range(len(content) - 2):
        paths.store.write(paths.config, content[:length])
        with pytest.raises(SettingsError, match=r"is cut off, .*delete it, and .*--id hh-1"):
            read_config(paths)


def test_a_folder_without_a_config_is_no_sweep(paths: SweepPaths) -> None:
    with pytest.raises(SettingsError, match=r"holds no config\.yaml; give the folder of a sweep"):
        read_config(paths)
