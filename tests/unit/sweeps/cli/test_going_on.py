"""`run --resume`, `resume` and `submit` of a sweep that has begun, with another config."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from dpo_core.storage.store import Store
from sweeps.run_dir import ledger
from sweeps.run_dir.config_file import read_changes, read_config
from sweeps.run_dir.ledger import searched
from sweeps.run_dir.paths import SweepPaths
from tests.support.in_process import command
from tests.support.sweeps_without_ray import STOPS_HERE, sweep_yaml, without_ray

KILLED = "killed"


@pytest.fixture(scope="module")
def made_once(toy_model: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a YAML and a sweep of three trials that was killed in its second one."""
    folder = tmp_path_factory.mktemp("going on")
    (folder / "sweep.yaml").write_text(sweep_yaml(Path("runs"), toy_model, pairs_file))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with without_ray(killed_after=1):
            assert command("run", "sweep.yaml", "--id", KILLED).returncode == 130
    return folder


@pytest.fixture
def here(made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(made_once, tmp_path / "copy")
    monkeypatch.chdir(folder)
    return folder


WAYS_IN = pytest.mark.parametrize(
    "way_in",
    [
        pytest.param(("resume", f"runs/{KILLED}"), id="resume"),
        pytest.param(("run", "sweep.yaml", "--id", KILLED, "--resume"), id="run"),
    ],
)


def paths_of(sweep: str) -> SweepPaths:
    return SweepPaths(Store.open("runs"), sweep)


def trials_of(sweep: str) -> list[str]:
    paths = paths_of(sweep)
    return [record.trial for record in searched(ledger.read(paths.store, paths.ledger))]


def test_more_trials_are_run_and_the_change_is_written_down(here: Path) -> None:
    with without_ray():
        done = command("resume", f"runs/{KILLED}", "--set", "search.trials=4", "--json")
    assert done.returncode == 0, done.stderr
    assert "goes on with search.trials: 3 -> 4" in done.stderr
    assert "goes on   (1 of 5 trials; best 1.000)" in done.stderr, "what has ended counts on"
    assert "t0002 finished   (3 of 5 trials, 1 failed; best 1.000)" in done.stderr
    paths = paths_of(KILLED)
    assert len(trials_of(KILLED)) == 4
    assert read_config(paths).search.trials == 4
    [change] = read_changes(paths)
    assert (change["key"], change["old"], change["new"]) == ("search.trials", 3, 4)
    with without_ray():
        again = command("resume", f"runs/{KILLED}", "--json")
    assert (again.returncode, again.stdout) == (0, done.stdout), "by its own config now"
    assert len(read_changes(paths)) == 1
    assert command("report", f"runs/{KILLED}").returncode == 0
    report = Path(paths.store.uri, paths.report_markdown).read_text()
    assert "Keys that changed when the sweep went on" in report

    fewer = command("resume", f"runs/{KILLED}", "--set", "search.trials=2")
    assert fewer.returncode == 2
    assert (
        "search.trials: 2 is fewer than the 4 trials that have ended; give 4 or more"
        in fewer.stderr
    )
    assert "nothing is left to train" in again.stderr
    assert "training again" not in again.stderr
    assert "final is opened" in done.stderr
    assert "final is opened" not in again.stderr, "it was opened before"

    with without_ray():
        more = command("resume", f"runs/{KILLED}", "--set", "search.trials=5")
    assert "the final split was opened already" in more.stderr
    assert len(trials_of(KILLED)) == 5
    assert more.returncode in (0, 2)
    assert (more.returncode == 2) == ("--open-final-again`, which is recorded" in more.stderr)


def test_the_yaml_says_what_is_new_and_what_it_leaves_out_stays(here: Path) -> None:
    text = Path("sweep.yaml").read_text().replace("trials: 3", "trials: 7\n  retries: 5")
    Path("sweep.yaml").write_text(text)
    run = ("run", "sweep.yaml", "--id", KILLED, "--resume")
    with without_ray(stop=True):
        done = command(*run, "--set", "search.concurrent=2")
        again = command(*run)
    assert "goes on with search.trials: 3 -> 7" in done.stderr
    assert STOPS_HERE in done.stderr
    assert (
        "sweep.yaml leaves out search.concurrent: it stays 2, as the sweep has it" in again.stderr
    )
    assert "goes on with" not in again.stderr
    search = read_config(paths_of(KILLED)).search
    assert (search.trials, search.retries, search.concurrent) == (7, 5, 2)


@WAYS_IN
def test_what_would_change_finished_trials_is_refused_and_changes_nothing(
    here: Path, way_in: Sequence[str]
) -> None:
    before = {p: p.read_bytes() for p in here.rglob("*") if p.is_file()}
    with without_ray():
        done = command(*way_in, "--set", "training.max_steps=8", "--set", "search.trials=5")
    assert done.returncode == 2
    assert "training.max_steps: is 6 in this sweep and cannot become 8, since " in done.stderr
    assert done.stderr.count("\n") == 1
    assert {p: p.read_bytes() for p in here.rglob("*") if p.is_file()} == before


def test_another_yaml_is_refused_too(here: Path) -> None:
    text = Path("sweep.yaml").read_text()
    Path("sweep.yaml").write_text(text.replace("learning_rate: 0.003", "learning_rate: 0.001"))
    with without_ray():
        done = command("run", "sweep.yaml", "--id", KILLED, "--resume")
    assert done.returncode == 2
    assert done.stderr.startswith("error: sweep.yaml: space: is {'beta': ")


def test_a_sweep_that_could_not_be_prepared_may_be_mended(here: Path) -> None:
    paths = paths_of(KILLED)
    for name in (paths.prepared, paths.ledger, paths.outcomes, paths.trials, paths.checkpoints):
        paths.store.delete(name)
    with without_ray(stop=True):
        done = command("resume", f"runs/{KILLED}", "--set", "data.final_fraction=0.3")
    assert STOPS_HERE in done.stderr
    assert read_config(paths).data.final_fraction == 0.3
    assert "21 final pairs" in done.stderr, "the data was split again"


def test_submit_refuses_before_anything_travels(here: Path) -> None:
    submit = ("submit", "sweep.yaml", "--id", KILLED, "--address", "http://127.0.0.1:9")
    storage = ("--set", f"storage={here / 'runs'}")
    refused = command(*submit, *storage, "--set", "seed=9")
    assert refused.returncode == 2
    assert "seed: is 0 in this sweep and cannot become 9" in refused.stderr
    assert "does not answer" in command(*submit, *storage, "--set", "search.trials=5").stderr


def test_going_on_needs_to_be_told_with_what(here: Path) -> None:
    done = command("run", "sweep.yaml", "--resume")
    assert done.returncode == 2
    assert "--resume: needs --id, the name of the run directory to go on with" in done.stderr
    assert [path.name for path in Path("runs").iterdir() if not path.name.startswith(".")] == [
        KILLED
    ]
