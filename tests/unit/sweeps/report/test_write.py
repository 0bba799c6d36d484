"""Tests of the report as it is written: from what folder, at what stage, and by which command."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import fsspec
import pytest

from dpo_core.storage.store import Store
from sweeps.cli import app as cli
from sweeps.report.markdown import escape
from sweeps.report.write import try_write_report, write_report
from sweeps.run_dir.paths import SweepPaths
from tests.support.toy_sweeps import ScriptedSweep
from tests.support.toys import toy_pairs


def test_the_verdict_of_the_choice_is_said_first(ended_sweep: ScriptedSweep) -> None:
    write_report(ended_sweep.paths)
    selection = json.loads(ended_sweep.paths.store.read("selection.json"))
    markdown = ended_sweep.paths.store.read(ended_sweep.paths.report_markdown).decode()
    said = markdown.splitlines()[2]
    assert said == f"**{escape(selection['verdict']['sentence'])}**"
    assert selection["winner"]["trial"] in said


def test_the_same_folder_gives_the_same_report(ended_sweep: ScriptedSweep) -> None:
    write_report(ended_sweep.paths)
    before = [ended_sweep.paths.store.read(f"report/{n}") for n in ("index.html", "report.md")]
    write_report(ended_sweep.paths)
    assert [
        ended_sweep.paths.store.read(f"report/{n}") for n in ("index.html", "report.md")
    ] == before


def test_storage_alone_is_enough_and_may_be_a_uri(ended_sweep: ScriptedSweep) -> None:
    """A copy of the folder on another file system; no model, no data file, no Ray."""
    source = Path(ended_sweep.paths.store.root)
    memory = fsspec.filesystem("memory")
    for path in source.rglob("*"):
        if path.is_file():
            name = f"/elsewhere/{source.name}/{path.relative_to(source)}"
            memory.makedirs(str(Path(name).parent), exist_ok=True)
            memory.pipe_file(name, path.read_bytes())
    paths = SweepPaths.of_folder(f"memory://elsewhere/{source.name}")
    assert isinstance(paths.store, Store)
    where = write_report(paths)
    assert where == f"memory://elsewhere/{source.name}/report/index.html"
    markdown = paths.store.read(paths.report_markdown).decode()
    write_report(ended_sweep.paths)
    own = ended_sweep.paths.store.read(ended_sweep.paths.report_markdown).decode()
    assert markdown.splitlines()[:12] == own.splitlines()[:12]


def test_where_every_trial_failed_it_says_so(tmp_path: Path) -> None:
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60))
    sweep.end(0, "failed", reason="nan", detail="at step 1", steps=())
    sweep.select()
    write_report(sweep.paths)
    markdown = sweep.paths.store.read(sweep.paths.report_markdown).decode()
    assert markdown.splitlines()[2] == "**no trial was ever evaluated**"
    assert "failed: nan" in markdown


def test_where_guardrails_exclude_everything_there_is_no_winner(tmp_path: Path) -> None:
    strict = "selection.guardrails={drift_chosen: {limit: 0.0}}"
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60), [strict])
    for number in range(3):
        sweep.end(number)
    assert sweep.select()["winner"] is None
    write_report(sweep.paths)
    markdown = sweep.paths.store.read(sweep.paths.report_markdown).decode()
    assert re.search(
        r"none of \d+ candidates that moved .* is admissible", markdown.splitlines()[2]
    )
    assert "- most accurate, not selected: t000" in markdown
    assert "| drift\\_chosen | 0 | exclude |" in markdown
    assert "| 12 of 12 |" in markdown
    assert "winner:" not in markdown


def test_a_report_that_cannot_be_written_does_not_fail_the_sweep(
    tmp_path: Path, messages: list[str]
) -> None:
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60))
    (tmp_path / "a" / "report").write_text("a file where the folder should be")
    try_write_report(sweep.paths)
    (message,) = (text for text in messages if "audit.json: is missing" not in text)
    assert "the report could not be written" in message
    assert f"dpo-sweeps report {tmp_path / 'a'}" in message


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["dpo-sweeps", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def test_the_report_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    sweep = ScriptedSweep(folder, toy_pairs(60))
    sweep.end(0)
    assert run("report", str(folder), monkeypatch=monkeypatch) == 0
    assert capfd.readouterr().out == f"{folder}/report/index.html\n"
    assert (folder / "report" / "report.md").is_file()
    assert run("report", str(tmp_path), monkeypatch=monkeypatch) == 2
    assert "holds no config.yaml" in capfd.readouterr().err
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b"finished", b"finnished"))
    before = (folder / "report" / "index.html").read_bytes()
    assert run("report", str(folder), monkeypatch=monkeypatch) == 2
    assert "damaged" in capfd.readouterr().err
    assert (folder / "report" / "index.html").read_bytes() == before
