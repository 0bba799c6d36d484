"""A whole sweep that trains its best points again, killed while it does, through real Ray and TRL."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from dpo_core.evaluation.outcomes import read_outcomes
from sweeps.run_dir import ledger
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.confirmation import new_seeds
from sweeps.selection.ordering import best_evaluation
from tests.support.driving import start, write_sweep
from tests.support.toys import LENIENT
from tests.support.whole_sweeps import run, selection_of

pytestmark = [pytest.mark.ray, pytest.mark.integration]

OBJECTIVE = "reward_accuracy"
AGAIN = ["t0000-s1", "t0000-s2", "t0001-s1", "t0001-s2"]


@pytest.fixture(scope="module")
def resumed(
    ray_cluster: str, toy_model: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Two points, two new seeds each: killed in the first of them; one of the others fails."""
    folder = tmp_path_factory.mktemp("confirmed")
    sections = {
        "space": {"beta": 0.1, "learning_rate": {"log_uniform": [1e-4, 3e-3]}},
        "training": {"max_steps": 40, "batch_pairs": 4, "evaluations": 2},
        "search": {"trials": 2, "objectives": ["accuracy", "drift"]},
        "selection": {**LENIENT, "objective": OBJECTIVE, "confirm": {"top": 2, "seeds": 2}},
    }
    path = write_sweep(folder, toy_model, pairs_file, **sections)
    sweep = folder / "runs" / "killed"
    first = start("run", str(path), "--id", "killed")
    deadline = time.monotonic() + 240
    while not list(sweep.glob("checkpoints/t000?-s1/step-000020/manifest.json")):
        assert time.monotonic() < deadline
        assert first.poll() is None, first.communicate()
        time.sleep(0.1)
    first.kill()
    first.communicate()
    before = (sweep / "ledger.jsonl").read_bytes()
    splits = (sweep / "prepared.json").read_bytes()
    # What a worker leaves behind that ran out of memory just before a kill.
    failure = {"reason": "out of memory", "detail": "of a test", "traceback": ""}
    (sweep / "failures").mkdir()
    (sweep / "failures" / "t0001-s2.json").write_text(json.dumps(failure))
    selection = selection_of(run("resume", str(sweep), "--json"))
    return {"selection": selection, "before": before, "splits": splits, "paths": paths_of(sweep)}


def paths_of(folder: Path) -> SweepPaths:
    return SweepPaths.of_folder(str(folder))


def accuracy(paths: SweepPaths, trial: str, step: int) -> float:
    outcomes, _ = read_outcomes(paths.store.read(paths.outcome(trial, step)))
    return outcomes.count(OBJECTIVE).accuracy


def test_nothing_is_lost_or_repeated(resumed: dict[str, Any]) -> None:
    paths = resumed["paths"]
    records = ledger.read(paths.store, paths.ledger)
    assert paths.store.read(paths.ledger).startswith(resumed["before"])
    assert [r.trial for r in records[:2]] == ["t0000", "t0001"]
    assert sorted(r.trial for r in records[2:]) == AGAIN
    assert [r.confirms for r in sorted(records[2:], key=lambda r: r.trial)] == [
        *["t0000"] * 2,
        *["t0001"] * 2,
    ]
    points = {r.trial: r.point for r in records}
    for record in records[2:]:
        assert record.point == points[record.confirms]
        number = int(record.trial.rpartition("-s")[2])
        assert record.seed == new_seeds(0, 2)[number - 1]
        status = "failed" if record.trial == "t0001-s2" else "finished"
        assert (record.trial, record.status) == (record.trial, status)


def test_the_search_knows_nothing_of_it(resumed: dict[str, Any]) -> None:
    selection, paths = resumed["selection"], resumed["paths"]
    assert sorted(t["trial"] for t in selection["trials"]) == ["t0000", "t0001"]
    study = optuna.load_study(
        study_name=selection["sweep"], storage=f"sqlite:///{paths.store.local}/{paths.study}"
    )
    assert sorted(t.user_attrs["trial"] for t in study.trials) == ["t0000", "t0001"]
    best = {r.trial: best_evaluation(r, OBJECTIVE) for r in ledger.read(paths.store, paths.ledger)}
    assert {t.user_attrs["trial"]: t.values for t in study.trials} == {
        trial: [best[trial].accuracy(OBJECTIVE), best[trial].drift] for trial in ("t0000", "t0001")
    }


def test_the_front_is_of_checkpoints_that_exist_in_the_ledger(resumed: dict[str, Any]) -> None:
    selection, paths = resumed["selection"], resumed["paths"]
    front = selection["pareto"]
    rows = {(c["trial"], c["step"]): c for c in selection["candidates"]}
    assert front
    for place in front:
        row = rows[place["trial"], place["step"]]
        assert (row["accuracy"], row["drift"]) == (place["accuracy"], place["drift"])
        assert place["accuracy"] == accuracy(paths, place["trial"], place["step"])
    assert max(c["accuracy"] for c in rows.values()) == front[0]["accuracy"]
    assert min(c["drift"] for c in rows.values()) == front[-1]["drift"]


def test_a_new_seed_changes_the_training_and_not_the_splits(resumed: dict[str, Any]) -> None:
    paths = resumed["paths"]
    assert paths.store.read(paths.prepared) == resumed["splits"]
    seen = {}
    for trial in ("t0000", "t0000-s1", "t0000-s2"):
        outcomes, _ = read_outcomes(paths.store.read(paths.outcome(trial, 40)))
        seen[trial] = outcomes
    first, *others = seen.values()
    for other in others:
        assert other.ids == first.ids
        assert (other.ref_chosen_logp == first.ref_chosen_logp).all()
    columns = [o.chosen_logp for o in seen.values()]
    assert all(not np.allclose(a, b) for i, a in enumerate(columns) for b in columns[i + 1 :]), (
        "every seed gives another model"
    )


def test_the_means_choose_and_the_failed_seed_is_told(resumed: dict[str, Any]) -> None:
    selection, paths = resumed["selection"], resumed["paths"]
    rows = {row["trial"]: row for row in selection["confirmation"]}
    assert set(rows) == {"t0000", "t0001"}
    assert rows["t0001"]["missing"][0]["reason"] == "out of memory"
    assert rows["t0001"]["seeds"] == new_seeds(0, 1)
    for row in rows.values():
        again = [accuracy(paths, trial, row["step"]) for trial in row["trials"]]
        assert row["accuracies"] == again
        assert row["mean"] == pytest.approx(sum(again) / len(again))
        assert row["search_score"] == accuracy(paths, row["trial"], row["step"])
        assert row["shrinkage"] == pytest.approx(row["search_score"] - row["mean"])
    winner = selection["winner"]
    [row] = [row for row in rows.values() if winner["trial"] in row["trials"]]
    assert (winner["step"], winner["point"]) == (row["step"], row["point"])
    assert winner["seed"] == row["seeds"][row["trials"].index(winner["trial"])]
    assert accuracy(paths, winner["trial"], winner["step"]) == max(row["accuracies"])


def test_what_could_win_stayed_and_nothing_else(resumed: dict[str, Any]) -> None:
    selection, paths = resumed["selection"], resumed["paths"]
    kept = {
        (trial, step)
        for trial in paths.store.names(paths.checkpoints)
        for step in paths.checkpoint_steps(trial)
    }
    winner = selection["winner"]
    assert (winner["trial"], winner["step"]) in kept
    again = [trial for trial, _ in kept if "-s" in trial]
    assert len(again) == len({trial.partition("-")[0] for trial in again}) == 2, "a seed a point"
    assert paths.store.exists(f"{paths.best}/config.json")
