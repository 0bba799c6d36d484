"""`kill -9` of a sweep's driver, again and again: every trial ends once, and none is trained twice."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from dpo_core.storage.partial import find_partial
from tests.support.cluster import leaked
from tests.support.driving import end_of, records_in, run, start, wait_for, write_sweep
from tests.support.toys import write_toy_pairs

pytestmark = [pytest.mark.ray, pytest.mark.integration, pytest.mark.slow]

STEPS, EVALUATIONS = 100, 5
_EVALUATED = re.compile(r"(t\d{4}) step (\d+)/")


@pytest.fixture
def sweep(toy_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a sweep with pairs of its own, which may be taken away."""

    def write(trials: int, **sections: object) -> Path:
        pairs = write_toy_pairs(tmp_path / "pairs.jsonl")
        training = {"max_steps": STEPS, "batch_pairs": 4, "evaluations": EVALUATIONS}
        search = {"trials": trials, "sampler": "random"}
        return write_sweep(tmp_path, toy_model, pairs, training=training, search=search, **sections)

    return write


class Killer:
    """Starts and kills one sweep, and keeps what it had reached each time."""

    def __init__(self, path: Path, folder: Path, seed: int) -> None:
        self.path, self.folder, self.rng = path, folder, random.Random(seed)
        self.temporary = path.parent / "tmp"
        self.temporary.mkdir()
        self.ended: dict[str, dict[str, int]] = {}
        self.reached: dict[str, int] = {}

    def kill(self, *, when_underway: bool) -> None:
        """After some seconds, while it connects or starts; or some files after it got under way."""
        begun = (self.folder / "config.yaml").exists()
        again = ("resume", str(self.folder)) if begun else ("run", str(self.path), "--id", "killed")
        program = start(*again, TMPDIR=str(self.temporary))
        if when_underway:
            wanted = self._files() + self.rng.randint(1, 4)
            wait_for(lambda: self._files() >= wanted or program.poll() is not None, every=0.02)
            time.sleep(self.rng.uniform(0, 0.3))
        else:
            time.sleep(self.rng.uniform(0.5, 12))
        program.kill()
        code, told = end_of(program)
        assert code == -9, f"it ended by itself before it was killed:\n{told}"
        self.check(told)

    def check(self, told: str) -> None:
        """Steps that were told are new ones; then notes what is there now."""
        for trial, step in _EVALUATED.findall(told):
            assert int(step) > self.reached.get(trial, 0), f"{trial} went back:\n{told}"
        for trial, files in self.ended.items():
            assert self._written(trial) == files, f"{trial} was trained again after its end"
        self.ended = {r.trial: self._written(r.trial) for r in records_in(self.folder)}
        found = re.findall(r"(t\d{4})-step-(\d+)", " ".join(self._outcomes()))
        self.reached = {}
        for trial, step in found:
            self.reached[trial] = max(int(step), self.reached.get(trial, 0))

    def _outcomes(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("outcomes/t*-step-??????.parquet"))

    def _written(self, trial: str) -> dict[str, int]:
        return {
            p.name: p.stat().st_mtime_ns for p in self.folder.glob(f"outcomes/{trial}-*[0-9].*")
        }

    def _files(self) -> int:
        return len(self._outcomes()) + len(list(self.folder.glob("trials/*.json")))


@pytest.mark.parametrize(
    ("lanes", "trials", "underway", "early"), [(True, 5, 6, 4), (False, 3, 4, 6)]
)
def test_a_driver_that_is_killed_again_and_again(
    ray_cluster: str,
    sweep: Callable[..., Path],
    tmp_path: Path,
    lanes: bool,
    trials: int,
    underway: int,
    early: int,
) -> None:
    folder = tmp_path / "runs" / "killed"
    killer = Killer(sweep(trials, resources={"lanes": lanes}), folder, seed=trials)
    moments = [True] * underway + [False] * early
    killer.rng.shuffle(moments)
    for when_underway in moments:
        killer.kill(when_underway=when_underway)
    # The folder alone is enough: without the data, Tune's own files and the study.
    (tmp_path / "pairs.jsonl").unlink()
    shutil.rmtree(folder / "ray")
    (folder / "study.db").unlink(missing_ok=True)
    code, told = run("resume", str(folder), TMPDIR=str(killer.temporary))
    assert code == 0, told
    killer.check(told)

    assert find_partial(folder.parent) == [], "each start removes what the kill before it left"
    assert [each.name for each in killer.temporary.glob("*/*")] == []

    records = records_in(folder)
    assert Counter(r.trial for r in records) == {f"t{n:04d}": 1 for n in range(trials)}
    every = [STEPS // EVALUATIONS * n for n in range(1, EVALUATIONS + 1)]
    assert [[e.step for e in r.evaluations] for r in records] == [every] * trials
    assert {r.status for r in records} == {"finished"}
    assert len({r.point["beta"] for r in records}) == trials, "no point was drawn twice"
    study = optuna.load_study(study_name="killed", storage=f"sqlite:///{folder}/study.db")
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * trials
    wait_for(lambda: not leaked(), seconds=90, every=1)
