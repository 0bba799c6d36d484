"""What a killed process was writing goes with the next start; what is being written stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from dpo_core.storage.partial import (
    PARTIAL_PREFIX,
    find_partial,
    partial_file,
    partial_folder,
    remove_partial,
)

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from dpo_core.storage.store import Store

store = Store.open(sys.argv[1])
model = Path(sys.argv[1], "model")
model.mkdir()
with store.writing("encoded/train.arrow") as file:
    file.write_bytes(b"half")
    with store.scratch("checkpoints") as scratch:
        (scratch / "weights").write_bytes(b"half")
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        store.write("outcomes/t0001.parquet", b"half")
"""


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, tmp_path], check=False)
    left = find_partial(tmp_path)
    assert sorted(path.parent.name for path in left) == ["checkpoints", "encoded", "outcomes"]
    assert find_partial(tmp_path, ("encoded",)) != left
    assert all(map(remove_partial, left))
    assert find_partial(tmp_path) == []
    assert {each.name for each in tmp_path.iterdir()} == {
        "model",
        "checkpoints",
        "encoded",
        "outcomes",
    }


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    with partial_folder(tmp_path) as folder, partial_file(tmp_path) as file:
        assert not any(map(remove_partial, find_partial(tmp_path)))
        assert folder.exists()
        assert os.path.exists(file.name)
        os.replace(file.name, tmp_path / "file")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_another_machine_writes_is_left_after_a_day(tmp_path: Path) -> None:
    partial = tmp_path / f"{PARTIAL_PREFIX}000-abc"
    partial.write_bytes(b"half")
    assert not remove_partial(partial)
    os.utime(partial, (time.time() - 25 * 3600,) * 2)
    assert remove_partial(partial)


def test_links_to_folders_are_not_searched(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / f"{PARTIAL_PREFIX}abc").touch()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "outcomes").symlink_to(tmp_path / "elsewhere")
    assert find_partial(tmp_path / "sweep") == []
    assert find_partial(tmp_path / "absent") == []
