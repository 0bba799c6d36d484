"""`dpo-sweeps nightly` as a scheduler sees it: exit codes, stdout, and what goes to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dpo_core.storage.store import Store
from sweeps.cli import app as cli
from sweeps.cli import night_commands
from sweeps.run_dir.lock import lock
from sweeps.run_dir.paths import NightPaths
from tests.support.scripted_nights import SWEEP, Scripted

Call = Callable[..., tuple[int, str, str]]
NOTHING = "no admissible candidate"


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    """(exit code, stdout, stderr) of a night in `tmp_path` whose sweep is scripted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPO_SWEEPS_COMMIT", "c0ffee")
    Path("nightly.yaml").write_text(SWEEP)

    def called(run: Any, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(night_commands, "run_visibly", run)
        command = ["nightly", "nightly.yaml", "--date", "2026-11-24", *arguments]
        monkeypatch.setattr(sys, "argv", ["dpo-sweeps", *command])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        code = stopped.value.code
        return (code if isinstance(code, int) else 0, *capfd.readouterr())

    return called


def test_a_night_that_ends_is_0_whatever_its_verdict(call: Call) -> None:
    code, out, err = call(Scripted("worse"))
    assert code == 0, err
    assert out.startswith("So it is.\n")
    assert "2026-11-24" in out, "the table of nights"
    assert Path("runs/hh-2026-11-24/selection.json").is_file()


def test_json_is_json_and_nothing_else(call: Call) -> None:
    code, out, _ = call(Scripted(), "--json")
    told = json.loads(out)
    assert code == 0
    assert set(told) == {"about", "selection", "trend"}
    assert told["about"]["promoted"] is True
    assert told["trend"][0]["night"] == "2026-11-24"


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("statuses", "code"), [(("failed",) * 4, 3), (("finished", "failed") * 2, 4)]
)
def test_no_trial_lived_is_3_and_nothing_admissible_is_4_if_asked_for(
    call: Call, statuses: tuple[str, ...], code: int, again: bool
) -> None:
    for _ in range(1 + again):
        assert call(Scripted(NOTHING, statuses), "--strict-exit")[0] == code


@pytest.mark.parametrize("word", [NOTHING, "not distinguishable"])
def test_a_night_that_changes_nothing_is_a_success_for_cron(call: Call, word: str) -> None:
    assert call(Scripted(word, ("finished", "failed") * 2))[0] == 0


def test_another_start_at_work_is_75_and_one_line(call: Call, tmp_path: Path) -> None:
    nights = NightPaths(Store.open(tmp_path / "runs"), "hh")
    run = Scripted()
    with lock(nights.sweep(date(2026, 11, 24)).leases, nights.lease):
        code, out, err = call(run)
    assert (code, out) == (75, "")
    assert err.startswith("error: the nights of `hh`: process ")
    assert err.count("\n") == 1
    assert run.ran == []


def test_an_interrupt_is_130(call: Call) -> None:
    def ctrl_c() -> None:
        raise KeyboardInterrupt

    code, out, err = call(Scripted(interrupt=ctrl_c))
    assert (code, out) == (130, "")
    assert "interrupted" in err


def test_a_mistake_is_2(call: Call) -> None:
    code, _, err = call(Scripted(), "--set", "nightly.turns_at=noon")
    assert code == 2
    assert "nightly.turns_at: 'noon'" in err
    for text in ("tomorrow", "2026-02-31", "20261129", ""):
        code, _, err = call(Scripted(), "--date", text)
        assert code == 2
        plain = " ".join(err.replace("│", " ").split())
        assert f"{text!r} is no date; write one such as 2026-11-29" in plain
