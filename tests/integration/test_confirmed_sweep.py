"""A whole sweep that trains its best points again: ended by SIGTERM, resumed, killed, resumed.

Real Ray and TRL. test_kills does this again and again, test_interrupts in every way there is.
"""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from dpo_core.evaluation.outcomes import read_outcomes
from dpo_core.storage.json_content import decode_json
from sweeps.run_dir import ledger
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.confirmation import new_seeds
from sweeps.selection.ordering import best_evaluation
from tests.support.cluster import leaked
from tests.support.driving import end_of, records_in, start, wait_for, write_sweep
from tests.support.in_process import command
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
    pairs = Path(shutil.copy(pairs_file, folder))
    sections = {
        "space": {"beta": 0.1, "learning_rate": {"log_uniform": [1e-4, 3e-3]}},
        "training": {"max_steps": 100, "batch_pairs": 4, "evaluations": 2},
        "search": {"trials": 2, "objectives": ["accuracy", "drift"]},
        "selection": {**LENIENT, "objective": OBJECTIVE, "confirm": {"top": 2, "seeds": 2}},
    }
    path = write_sweep(folder, toy_model, pairs, **sections)
    sweep = folder / "runs" / "killed"

    first = start("run", str(path), "--id", "killed")
    wait_for(lambda: (sweep / "trials/t0000.json").exists())
    busy = command("resume", str(sweep))
    wait_for(lambda: list(sweep.glob("checkpoints/t0000/step-000050/manifest.json")))
    first.send_signal(signal.SIGTERM)
    ended = end_of(first)
    drawn = decode_json((sweep / "trials/t0000.json").read_bytes())
    failed_by_then = records_in(sweep)

    second = start("resume", str(sweep))
    confirming = "checkpoints/t000?-s1/step-000050/manifest.json"
    wait_for(lambda: list(sweep.glob(confirming)) or second.poll() is not None, seconds=240)
    assert second.poll() is None, end_of(second)
    second.kill()
    _, told = end_of(second)
    before = (sweep / "ledger.jsonl").read_bytes()
    splits = (sweep / "prepared.json").read_bytes()
    written = written_of(sweep, "t0000", "t0001")
    # What a worker leaves behind that ran out of memory just before a kill.
    failure = {"reason": "out of memory", "detail": "of a test", "traceback": ""}
    (sweep / "failures").mkdir()
    (sweep / "failures" / "t0001-s2.json").write_text(json.dumps(failure))
    # The folder alone is enough: without the data, Tune's own files and the study.
    pairs.unlink()
    shutil.rmtree(sweep / "ray")
    (sweep / "study.db").unlink(missing_ok=True)
    selection = selection_of(run("resume", str(sweep), "--json"))
    return {
        "busy": (first.pid, busy.returncode, busy.stderr),
        "ended": (*ended, failed_by_then),
        "drawn": drawn,
        "told": told,
        "before": before,
        "splits": splits,
        "written": written,
        "selection": selection,
        "paths": paths_of(sweep),
        "folder": sweep,
    }


def written_of(folder: Path, *trials: str) -> dict[str, int]:
    """When each evaluation of the trials was written."""
    files = [file for trial in trials for file in folder.glob(f"outcomes/{trial}-step-*")]
    return {file.name: file.stat().st_mtime_ns for file in files}


def paths_of(folder: Path) -> SweepPaths:
    return SweepPaths.of_folder(str(folder))


def accuracy(paths: SweepPaths, trial: str, step: int) -> float:
    outcomes, _ = read_outcomes(paths.store.read(paths.outcome(trial, step)))
    return outcomes.count(OBJECTIVE).accuracy


def test_who_starts_it_a_second_time_is_told_who_is_at_work(resumed: dict[str, Any]) -> None:
    pid, code, told = resumed["busy"]
    assert code == 75, told
    assert f"process {pid} on" in told
    assert "Traceback" not in told


def test_sigterm_ends_it_so_that_it_can_be_resumed(resumed: dict[str, Any]) -> None:
    code, told, failed = resumed["ended"]
    assert code == 130, told
    assert "resume" in told
    assert "Traceback" not in told
    assert not failed, "an interrupted trial has not failed"


def test_what_was_trained_is_not_trained_again(resumed: dict[str, Any]) -> None:
    assert "t0000 step 50/100" not in resumed["told"], "it went on from its checkpoint"
    assert len(resumed["written"]) == 4
    assert written_of(resumed["folder"], "t0000", "t0001") == resumed["written"]


def test_nothing_of_it_is_left_in_the_cluster(resumed: dict[str, Any]) -> None:
    wait_for(lambda: not leaked(), seconds=90, every=1)


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
    assert dict(points["t0000"]) == resumed["drawn"]["point"]
    assert points["t0001"] != points["t0000"], "a resumed sweep draws on"
    for record in records:
        if record.status == "finished":
            assert [e.step for e in record.evaluations] == [50, 100]
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
        outcomes, _ = read_outcomes(paths.store.read(paths.outcome(trial, 100)))
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
