"""A sweep and a night that an earlier version began are finished by this one, with the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.earlier_sweeps import resumed_by_the_earlier_version, unpack
from tests.support.in_process import command
from tests.support.whole_sweeps import selection_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("in_process")]


def test_a_sweep_that_was_cut_off_is_resumed(tmp_path: Path) -> None:
    folder = unpack(tmp_path) / "runs" / "cut-1"
    before = (folder / "ledger.jsonl").read_bytes()
    selection = selection_of(command("resume", str(folder), "--json"))
    assert (folder / "ledger.jsonl").read_bytes().startswith(before), "what ended stays"
    expected = resumed_by_the_earlier_version()
    assert selection["verdict"]["word"] == expected["verdict"]["word"]
    rows = {row["trial"]: row for row in expected["trials"]}
    assert {row["trial"] for row in selection["trials"]} == set(rows)
    for row in selection["trials"]:
        assert row["counts"] == rows[row["trial"]]["counts"]
    # The rule of this version may take another winner, on the same pairs.
    assert selection["winner"]["trial"] in rows
    assert [selection[s]["total"] for s in ("select", "final")] == [
        expected[s]["total"] for s in ("select", "final")
    ]


def test_a_night_follows_the_earlier_versions_night(tmp_path: Path) -> None:
    folder = unpack(tmp_path)
    first = json.loads((folder / "runs" / "night-2026-11-23" / "night.json").read_text())
    assert first["promoted"]
    file = folder / "nightly.yaml"
    file.write_text(
        file.read_text()
        .replace("path: model", f"path: {folder}/model")
        .replace("path: pairs.jsonl", f"path: {folder}/pairs.jsonl")
        .replace("storage: runs", f"storage: {folder}/runs")
    )
    done = command("nightly", str(file), "--date", "2026-11-24", "--json")
    assert done.returncode == 0, done.stderr
    night = json.loads(done.stdout)
    assert [row["night"] for row in night["trend"]] == ["2026-11-23", "2026-11-24"]
    assert night["about"]["incumbent"]["sweep"] == "night-2026-11-23"
    assert night["about"]["warm_started"] == 2
    assert night["about"]["control"] == "t0000"
