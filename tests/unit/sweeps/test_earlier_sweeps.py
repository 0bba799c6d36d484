"""`best`, `select`, `report` and `export` work on the run directory of an earlier version."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps.cli import app
from tests.support.earlier_sweeps import unpack


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """A sweep of three trials whose best point was confirmed with two new seeds."""
    return unpack(tmp_path) / "runs" / "before-1"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process; return its standard output."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["dpo-sweeps", *arguments])
        with pytest.raises(SystemExit) as stop:
            app.main()
        out, err = capsys.readouterr()
        assert not stop.value.code, err
        return out

    return run


def assert_holds(value: Any, stored: Any, where: str) -> None:
    """Assert that `value` has everything that an earlier version stored; it may have more."""
    if isinstance(stored, dict):
        for key in stored:
            assert_holds(value[key], stored[key], f"{where}.{key}")
    else:
        assert value == stored, where


def test_best_shows_the_stored_selection(ended: Path, command: Any) -> None:
    stored = json.loads((ended / "selection.json").read_text())
    assert json.loads(command("best", str(ended), "--json")) == stored


def test_the_choice_replayed_gives_the_same_numbers(ended: Path, command: Any) -> None:
    stored = json.loads((ended / "selection.json").read_text())
    replayed = json.loads(command("select", str(ended), "--json"))
    # The rule of this version takes another checkpoint of the same confirmed point, for which final
    # was never opened.
    assert replayed["winner"]["trial"] == "t0002-s2"
    assert replayed["winner"]["point"] == stored["winner"]["point"]
    assert replayed["verdict"]["word"] is None
    assert [c["trial"] for c in replayed["confirmation"]] == ["t0002"]
    rows = {row["trial"]: row for row in stored["trials"]}
    assert {row["trial"] for row in replayed["trials"]} == set(rows)
    for row in replayed["trials"]:
        for key in ("status", "point", "loss_beta", "counts", "accuracy", "seconds"):
            assert row[key] == rows[row["trial"]][key], (row["trial"], key)
    by_step = {(c["trial"], c["step"]): c for c in replayed["candidates"]}
    for row in stored["candidates"]:
        now, changed = (
            by_step[row["trial"], row["step"]],
            ("guardrails", "drift", "shortlisted", "against"),
        )
        assert_holds(now, {k: row[k] for k in row.keys() - set(changed)}, "candidates")
        assert now["drift"] >= row["drift"] - 1e-9, "answers that rose and fell do not cancel out"


def test_guardrails_of_the_earlier_version_keep_their_actions(ended: Path, command: Any) -> None:
    replayed = json.loads(command("select", str(ended), "--json"))["guardrails"]
    assert replayed["length_bias"] == {"limit": 0.5, "action": "warn"}
    assert replayed["loops"] == {"limit": 0.1, "action": "warn"}
    assert replayed["drift_chosen"] == {"limit": 1.0, "action": "warn"}


def test_another_objective_can_be_chosen_by(ended: Path, command: Any) -> None:
    setting = "selection.objective=token_reward_accuracy"
    replayed = json.loads(command("select", str(ended), "--json", "--set", setting))
    assert replayed["winner"]["trial"].startswith("t0002-s")


def test_its_report_is_written(ended: Path, command: Any) -> None:
    assert command("report", str(ended)).strip() == f"{ended}/report/index.html"
    markdown = (ended / "report" / "report.md").read_text()
    assert "+50.0 points on 15 final pairs" in markdown
    assert "t0002-s1" in markdown


def test_its_winner_is_exported_and_loads(ended: Path, command: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    target = tmp_path / "exported"
    command("export", str(ended), str(target))
    assert (target / "model.safetensors").read_bytes() == (
        ended / "best" / "model.safetensors"
    ).read_bytes()
    AutoModelForCausalLM.from_pretrained(target)
