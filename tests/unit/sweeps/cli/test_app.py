"""The command: exit codes, what goes to stdout, and that `validate` is instant."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dpo_core.errors import UserError
from sweeps.cli import app as cli
from tests.support.selections import a_selection

SWEEP = """\
name: hh
model: {path: no-such-model}
data: {path: no-such-pairs.jsonl}
space: lora
training: {max_steps: 4}
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(SWEEP)
    return "sweep.yaml"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """(exit code, stdout, stderr) of the command, as a shell would see them."""

    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dpo-sweeps", *arguments])
        monkeypatch.setenv("COLUMNS", "120")
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        plain = (re.sub(r"\x1b\[[0-9;]*m", "", text) for text in capfd.readouterr())
        return (stopped.value.code, *plain)

    return called


def is_a_mistake(result: tuple[int, str, str]) -> str:
    """The one line on stderr that a user's mistake is answered with."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_validate(call, sweep: str) -> None:
    assert call("validate", sweep) == (
        0,
        "sweep.yaml: a valid sweep of 14 trials over beta, learning_rate, length_norm\n",
        "",
    )
    code, out, _ = call(
        "validate",
        sweep,
        "--set",
        "search.trials=3",
        "--set",
        "space={beta: .1, learning_rate: 1e-5}",
    )
    assert code == 0
    assert out.splitlines() == [
        "sweep.yaml: a valid sweep of 1 trial over beta, learning_rate",
        "search.trials: the space has 1 point, and none is trained twice with one seed; the search "
        "ends after 1 of 3 trials",
    ]


def test_validate_json_is_json_and_nothing_else(call, sweep: str) -> None:
    code, out, err = call("validate", sweep, "--json", "--set", "storage=ü")
    assert (code, err) == (0, "")
    assert json.loads(out)["storage"] == "ü"
    assert json.loads(out)["training"]["max_steps"] == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("validate", "none.yaml"), "none.yaml: no such file"),
        (("validate", "."), "is a folder"),
        (("validate", "sweep.yaml/x"), "cannot be read (Not a directory)"),
        (("validate", "sweep.yaml", "--set", "seed"), "--set seed: is not of the form"),
        (("validate", "sweep.yaml", "--set", "search.trials=0"), "search.trials: 0 is too small"),
        (("plan", "sweep.yaml"), "no-such-pairs.jsonl: no such file or folder"),
        (("run", "sweep.yaml"), "no-such-pairs.jsonl: no such file or folder"),
        (("run", "sweep.yaml", "--id", "../up"), "--id ../up: is no folder name"),
        (("run", "sweep.yaml", "--id", ".hidden"), "--id .hidden: is no folder name"),
        (("run", "sweep.yaml", "--id", ""), "--id : is no folder name"),
        (("run", "sweep.yaml", "--id", "old"), "old: exists already; `dpo-sweeps resume` goes on"),
        (
            ("run", "sweep.yaml", "--id", "old", "--resume"),
            "runs/old/config.yaml: is cut off",
        ),
        (("run", "sweep.yaml", "--id", "new", "--resume"), "no-such-pairs.jsonl: no such file"),
        (("resume", "nowhere"), "nowhere: holds no config.yaml; give the folder of a sweep"),
        (("best", "runs/old"), "old: has no selection.json yet; `dpo-sweeps resume` finishes"),
        (("best", "nowhere"), "nowhere: holds no config.yaml; give the folder of a sweep"),
        (("best", "."), "holds no config.yaml"),
        (("best", ".."), "holds no config.yaml"),
        (("best", "sweep.yaml"), "sweep.yaml: holds no config.yaml; give the folder of a sweep"),
        (("export", "nowhere", "to"), "nowhere: holds no config.yaml; give the folder of a sweep"),
        (("report", "nowhere"), "nowhere: holds no config.yaml; give the folder of a sweep"),
        (("select", "nowhere"), "nowhere: holds no config.yaml; give the folder of a sweep"),
        (
            ("run", "sweep.yaml", "--set", "storage=sweep.yaml"),
            "storage: sweep.yaml is a file; give a folder or a URI",
        ),
        (
            ("nightly", "sweep.yaml", "--set", "storage=sweep.yaml/runs"),
            "sweep.yaml is a file; give a folder or a URI",
        ),
        (
            ("plan", "sweep.yaml", "--set", "storage=sweep.yaml"),
            "storage: sweep.yaml is a file; give a folder or a URI",
        ),
        (
            ("run", "sweep.yaml", "--set", "training.trl.optim=x"),
            "training.trl.optim: 'x' is unknown; use one of adamw_torch",
        ),
        (("best", "nosuch://x/y"), "storage: nosuch://x cannot be opened"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(call, sweep, arguments, said) -> None:
    Path("runs/old").mkdir(parents=True)
    Path("runs/old/config.yaml").touch()
    assert said in is_a_mistake(call(*arguments))


def test_a_mistake_leaves_nothing_behind(call, sweep: str) -> None:
    is_a_mistake(call("run", sweep))
    assert [p.name for p in Path().iterdir()] == ["sweep.yaml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tune",), "No such command 'tune'"),
        (("validate",), "Missing argument"),
        (("validate", "sweep.yaml", "--loud"), "--loud"),
        (("best", "a", "b"), "unexpected extra argument"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_without_traceback(
    call, sweep, arguments, said
) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert "defect" not in err


COMMANDS = ("nightly", "validate", "plan", "run", "resume", "best", "export", "demo")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(call, command: str) -> None:
    code, out, err = call(command, "--help")
    assert (code, err) == (0, "")
    assert "Usage: " in out
    assert command in out


def test_help_lists_every_command_and_every_exit_code(call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    registered = {c.name or c.callback.__name__ for c in cli.app.registered_commands}
    assert registered >= set(COMMANDS)
    assert all(f" {name} " in out for name in registered)
    for meaning in ("0 done", "1 a defect", "2 a mistake", "3 every trial failed", "130 interr"):
        assert meaning in " ".join(out.split())


def test_a_defect_is_exit_code_1_with_its_traceback(call, sweep, monkeypatch) -> None:
    monkeypatch.setattr("sweeps.config.load.load_sweep", lambda *_: 1 / 0)
    code, out, err = call("validate", sweep)
    assert (code, out) == (1, "")
    assert "ZeroDivisionError" in err
    assert "this is a defect of dpo-sweeps, not of your sweep; please report it" in err


def test_neither_a_mistake_nor_a_defect_shows_a_secret(call, sweep, monkeypatch) -> None:
    for error in (OSError, UserError):

        def fail(*_, error=error):
            raise error("postgresql://me:cAnArY@db/study does not answer")

        monkeypatch.setattr("sweeps.config.load.load_sweep", fail)
        _, out, err = call("validate", sweep)
        assert "postgresql://me:***@db/study does not answer" in err
        assert "cAnArY" not in (out + err)


def test_an_interruption_is_exit_code_130_and_says_how_to_go_on(call, sweep, monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeps.config.load.load_sweep", interrupt)
    code, _, err = call("validate", sweep)
    assert code == 130
    assert "interrupted; `dpo-sweeps resume FOLDER` goes on" in err
    assert "Traceback" not in err


def test_a_sweep_without_a_winner_is_exit_code_3(call, sweep, monkeypatch) -> None:
    from sweeps.sweep import NoWinner

    def lose(*_: object) -> None:
        raise NoWinner("none of 4 trials was ever evaluated")

    monkeypatch.setattr("sweeps.sweep.run_sweep", lose)
    code, out, err = call("run", sweep)
    assert (code, out) == (3, "")
    assert err == "error: none of 4 trials was ever evaluated\n"


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """The folder of a sweep that ended, with a small `best/`."""
    folder = tmp_path / "runs" / "hh-1"
    (folder / "best").mkdir(parents=True)
    (folder / "best" / "config.json").write_text("{}")
    about = {"trial": "t0001", "step": 8}  # as versions without a manifest wrote it
    (folder / "best" / "dpo-sweeps.json").write_text(json.dumps(about))
    (folder / "selection.json").write_text(json.dumps(a_selection()))
    return folder


def test_best(call, ended: Path) -> None:
    code, out, err = call("best", str(ended))
    assert (code, err) == (0, "")
    assert out.startswith("t0001 at step 8 is better than the reference\n"), "the verdict is first"
    assert "winner: t0001 at step 8" in out
    assert "3 trials, by reward_accuracy" in out
    assert "t0002: nan ([red]loss[/red] is nan at [/x])" in " ".join(out.split())


def test_best_json_is_selection_json(call, ended: Path) -> None:
    code, out, err = call("best", str(ended), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((ended / "selection.json").read_text())


def test_best_of_a_sweep_without_a_winner(call, ended: Path) -> None:
    lost = a_selection(winner=None)
    lost["verdict"]["sentence"] = "none of 2 candidates is admissible"
    lost["trials"] = lost["trials"][2:]
    (ended / "selection.json").write_text(json.dumps(lost))
    code, out, _ = call("best", str(ended))
    assert code == 0
    assert "winner" not in out
    assert out.startswith("none of 2 candidates is admissible")
    assert "1 of 1 trials failed" in out


def test_export_prints_where(call, ended: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "model")
    assert call("export", str(ended), target) == (0, f"{target}\n", "")
    assert "is not empty; give a new folder" in is_a_mistake(call("export", str(ended), target))


def test_what_is_not_better_is_exported_on_demand_only(call, ended: Path, tmp_path: Path) -> None:
    same = a_selection()
    same["verdict"] |= {"word": "not distinguishable", "sentence": "it is as the reference is"}
    (ended / "selection.json").write_text(json.dumps(same))
    target = str(tmp_path / "model")
    told = is_a_mistake(call("export", str(ended), target))
    assert "it is as the reference is; give --even-if-not-better to export it" in told
    assert not Path(target).exists()
    assert call("export", str(ended), target, "--even-if-not-better")[0] == 0


def test_a_sweep_with_nothing_admissible_shows_why_and_exits_with_4(
    call, sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = a_selection(winner=None)
    nothing["verdict"] |= {"word": "no admissible candidate", "sentence": "none is admissible"}
    monkeypatch.setattr("sweeps.sweep.run_sweep", lambda *_: nothing)
    code, out, _ = call("run", sweep)
    assert code == 4
    assert out.startswith("none is admissible")
    code, out, _ = call("run", sweep, "--json", "--id", "again")
    assert (code, json.loads(out)) == (4, nothing)


def test_validate_is_instant_it_loads_no_heavy_library(sweep: str) -> None:
    code = (
        "import sys; from sweeps.cli import app as cli\n"
        "sys.argv = ['dpo-sweeps', 'validate', 'sweep.yaml']\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'torch', 'ray', 'transformers', 'trl', 'peft', 'datasets', 'optuna', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == ["[]"], done.stderr


def test_python_m_sweeps_is_the_command(sweep: str) -> None:
    command = [sys.executable, "-m", "sweeps", "validate"]
    good = subprocess.run([*command, sweep], capture_output=True, text=True)
    assert (good.returncode, good.stderr) == (0, "")
    bad = subprocess.run([*command, "none.yaml"], capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "error: none.yaml: no such file; give the path of a sweep's YAML\n"
