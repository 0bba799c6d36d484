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


def test_a_changed_bit_is_refused_or_changes_nothing(paths: SweepPaths) -> None:
    config = night_config(paths.storage.uri)
    write_config(config, paths)
    content = paths.store.read(paths.config)
    unnoticed = 0
    for bit in range(0, 8 * len(content), 7):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        paths.store.write(paths.config, bytes(damaged))
        try:
            unnoticed += read_config(paths) == config
        except SettingsError:
            continue
        assert read_config(paths) == config, bytes(damaged)
    assert unnoticed < 20, "in the comment's own words"


def test_another_value_is_refused_with_the_way_out(paths: SweepPaths) -> None:
    write_config(night_config(paths.storage.uri), paths)
    content = paths.store.read(paths.config)
    paths.store.write(paths.config, content.replace(b"seed: 0", b"seed: 1"))
    with pytest.raises(SettingsError, match=r"is not what was written .*; restore it .*--id hh-1"):
        read_config(paths)


def test_configs_of_earlier_versions_have_no_digest(paths: SweepPaths) -> None:
    config = night_config(paths.storage.uri)
    write_config(config, paths)
    lines = paths.store.read(paths.config).splitlines(keepends=True)
    paths.store.write(paths.config, b"".join([*lines[:-2], lines[-1]]))
    assert read_config(paths) == config


def test_a_folder_without_a_config_is_no_sweep(paths: SweepPaths) -> None:
    with pytest.raises(SettingsError, match=r"holds no config\.yaml; give the folder of a sweep"):
        read_config(paths)
