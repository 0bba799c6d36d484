"""Whole sweeps through real Ray, TRL and Optuna, on a tiny Llama with a real tokenizer."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from dpo_core.evaluation.outcomes import read_outcomes
from dpo_core.storage.json_content import decode_json
from sweeps.run_dir.paths import SweepPaths
from sweeps.trials.metrics import OF_SWEEP, OF_TRIAL
from tests.support.cluster import exported_metrics, get, ray_processes
from tests.support.driving import end_of, records_in, start, wait_for, write_sweep
from tests.support.in_process import command
from tests.support.toys import LENIENT
from tests.support.whole_sweeps import run, selection_of

pytestmark = [pytest.mark.ray, pytest.mark.integration]

# Draws a point that needs 256 GB, one that diverges and a good one, in this order: the good trial
# runs on a lane on which another has just failed.
SEED = 11


@pytest.fixture(scope="module")
def finished(
    ray_cluster: str, toy_model: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Three trials: one fine, one whose loss is no number, one that wants 256 GB."""
    folder = tmp_path_factory.mktemp("sweep")
    sections = {
        "space": {
            "beta": {"log_uniform": [0.05, 0.5]},
            "learning_rate": {"choice": [0.003, 1e30]},
            "length_norm": "mean",
            "lora_rank": {"choice": [4, 1_000_000_000]},
        },
        "training": {"max_steps": 4, "batch_pairs": 4, "evaluations": 2, "warmup_fraction": 0.0},
        "search": {"trials": 3, "sampler": "random"},
        "resources": {"lanes": True},
        "selection": LENIENT,
        "seed": SEED,
    }
    path = write_sweep(folder, toy_model, pairs_file, **sections)
    return {"selection": selection_of(run("run", str(path), "--json")), "yaml": path}


def paths_of(selection: dict[str, Any]) -> SweepPaths:
    return SweepPaths.of_folder(selection["folder"])


def test_a_failed_trial_is_recorded_and_the_sweep_goes_on(finished: dict[str, Any]) -> None:
    trials = {t["trial"]: t for t in finished["selection"]["trials"]}
    assert set(trials) == {"t0000", "t0001", "t0002"}
    expected = {
        t["trial"]: "out of memory"
        if t["point"]["lora_rank"] > 4
        else "nan"
        if t["point"]["learning_rate"] > 1
        else None
        for t in trials.values()
    }
    assert {name: t["reason"] for name, t in trials.items()} == expected
    assert set(expected.values()) == {None, "nan", "out of memory"}, "the seed must draw each kind"


def test_the_folder_keeps_what_it_promises(finished: dict[str, Any]) -> None:
    selection = finished["selection"]
    folder = Path(selection["folder"])
    for name in (
        "config.yaml",
        "audit.json",
        "ledger.jsonl",
        "selection.json",
        "study.db",
        "best/README.md",
    ):
        assert (folder / name).is_file(), name
    assert decode_json((folder / "selection.json").read_bytes()) == selection
    rows = [json.loads(s) for s in (folder / "splits/select.jsonl").read_text().splitlines()]
    outcomes, about = read_outcomes(
        (folder / f"outcomes/{selection['winner']['trial']}-step-000004.parquet").read_bytes()
    )
    assert sorted(outcomes.ids) == sorted(row["id"] for row in rows)
    assert about["step"] == 4


def test_a_run_leaves_a_report(finished: dict[str, Any]) -> None:
    folder = Path(finished["selection"]["folder"])
    [node] = [decode_json(path.read_bytes()) for path in (folder / "nodes").iterdir()]
    told = (folder / "report" / "report.md").read_text()
    page = (folder / "report" / "index.html").read_text()
    assert finished["selection"]["verdict"]["sentence"].split(",")[0] in page
    assert f"{node['host']} | {node['cpu']} | {node['cores']} |" in told.replace("\\", "")
    assert "No answers" not in told, "reference and winner have answered"
    before = page
    done = command("report", str(folder))
    assert (done.returncode, done.stdout) == (0, f"{folder}/report/index.html\n")
    assert (folder / "report" / "index.html").read_text() == before


def test_only_what_can_still_win_stays_on_disk(finished: dict[str, Any]) -> None:
    selection = finished["selection"]
    paths = paths_of(selection)
    kept = {
        (trial, step)
        for trial in paths.store.names(paths.checkpoints)
        for step in paths.checkpoint_steps(trial)
    }
    candidates = [(c["trial"], c["step"]) for c in selection["candidates"]]
    assert (selection["winner"]["trial"], selection["winner"]["step"]) in kept
    # What one standard error does not tell from the best could still have won.
    assert kept <= set(candidates)
    files = {p.suffix for p in Path(selection["folder"], "checkpoints").rglob("*") if p.is_file()}
    assert files <= {".safetensors", ".json"}


def test_the_study_has_every_trial_once(finished: dict[str, Any]) -> None:
    folder, sweep = finished["selection"]["folder"], finished["selection"]["sweep"]
    study = optuna.load_study(study_name=sweep, storage=f"sqlite:///{folder}/study.db")
    names = sorted(trial.user_attrs["trial"] for trial in study.trials)
    assert names == ["t0000", "t0001", "t0002"]
    assert all(trial.state.is_finished() for trial in study.trials)


@pytest.mark.parametrize("split", ["select", "final"])
def test_rescoring_best_one_sequence_at_a_time_gives_the_same_counts(
    finished: dict[str, Any], toy_model: Path, split: str
) -> None:
    selection = finished["selection"]
    folder = Path(selection["folder"])
    rows = [json.loads(s) for s in (folder / f"splits/{split}.jsonl").read_text().splitlines()]
    policy, reference = _plain_scorer(folder / "best"), _plain_scorer(toy_model)
    margins = {"reward_accuracy": [], "token_reward_accuracy": [], "likelihood_accuracy": []}
    for row in rows:
        (pw, nw), (pl, nl) = policy(row, "chosen"), policy(row, "rejected")
        (rw, _), (rl, _) = reference(row, "chosen"), reference(row, "rejected")
        margins["reward_accuracy"].append((pw - rw) - (pl - rl))
        margins["token_reward_accuracy"].append((pw - rw) / nw - (pl - rl) / nl)
        margins["likelihood_accuracy"].append(pw - pl)
    for name, values in margins.items():
        assert sum(m > 0 for m in values) / len(values) == pytest.approx(selection[split][name])
    assert selection[split]["correct"] == sum(m > 0 for m in margins[selection["objective"]])
    assert selection[split]["total"] == len(rows)


def test_the_untouched_model_scores_exactly_one_half(finished: dict[str, Any]) -> None:
    for split in ("select", "final"):
        before = finished["selection"]["reference"][split]
        assert (before["correct"], before["ties"]) == (0, before["total"])
        assert before["reward_accuracy"] == before["token_reward_accuracy"] == 0.5


def test_best_shows_and_export_copies(finished: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = finished["selection"]["folder"]
    shown = command("best", folder)
    assert shown.returncode == 0
    assert finished["selection"]["winner"]["trial"] in shown.stdout
    assert "2 of 3 trials failed" in shown.stdout
    assert (
        command("export", folder, str(tmp_path / "model"), "--even-if-not-better").returncode == 0
    )
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")


@pytest.fixture(scope="module")
def again(finished: dict[str, Any]) -> dict[str, Any]:
    """A second sweep without lanes, of one trial: the winner's point. `kept`: times of the cache."""
    kept = _cache_times(paths_of(finished["selection"]))
    point = json.dumps(finished["selection"]["winner"]["point"])
    given = [f"space={point}", "search.trials=1", "resources.lanes=false"]
    done = command("run", str(finished["yaml"]), "--json", "--id", "again", *settings(given))
    return {"selection": selection_of(done), "kept": kept}


def settings(given: Sequence[str]) -> list[str]:
    return [word for key in given for word in ("--set", key)]


def test_a_cold_trial_of_a_second_sweep_gives_the_same_numbers(
    finished: dict[str, Any], again: dict[str, Any]
) -> None:
    """The reference is found, not computed; and no number depends on the lane's earlier trials."""
    first, second = paths_of(finished["selection"]), paths_of(again["selection"])
    prepared = decode_json(second.store.read("prepared.json"))
    assert not any(prepared["reference_computed"].values())
    assert _cache_times(first) == again["kept"]
    for step in (2, 4):
        warm, _ = read_outcomes(
            first.store.read(first.outcome(finished["selection"]["winner"]["trial"], step))
        )
        cold, _ = read_outcomes(second.store.read(second.outcome("t0000", step)))
        assert warm.ids == cold.ids
        assert (warm.chosen_logp == cold.chosen_logp).all()
        assert (warm.rejected_logp == cold.rejected_logp).all()


def test_two_workers_count_every_pair_once(finished: dict[str, Any], again: dict[str, Any]) -> None:
    one = again["selection"]
    point = json.dumps(one["winner"]["point"])
    given = [f"space={point}", "search.trials=1", "resources.workers=2"]
    done = command("run", str(finished["yaml"]), "--json", "--id", "two", *settings(given))
    two = selection_of(done)
    for split in ("select", "final"):
        assert {k: one[split][k] for k in ("correct", "ties", "total")} == {
            k: two[split][k] for k in ("correct", "ties", "total")
        }


def test_resuming_a_finished_sweep_changes_nothing(finished: dict[str, Any]) -> None:
    selection = finished["selection"]
    before = Path(selection["folder"], "ledger.jsonl").read_bytes()
    assert selection_of(command("resume", selection["folder"], "--json")) == selection
    assert Path(selection["folder"], "ledger.jsonl").read_bytes() == before


def test_the_dashboard_shows_each_trial_and_each_lane(
    finished: dict[str, Any], again: dict[str, Any], ray_cluster: str
) -> None:
    runs = json.loads(get(f"{ray_cluster}/api/train/v2/runs/v1"))
    names = {r["name"] for r in runs["train_runs"]}
    sweep = finished["selection"]["sweep"]
    # Running out of memory ended the first lane; the other two trials shared the second.
    assert {n for n in names if n.startswith(sweep)} == {f"{sweep}-lane0", f"{sweep}-lane1"}
    assert "again-t0000" in names, "without lanes a trial is a run of its own"


def test_each_process_of_a_trial_may_be_killed(
    ray_cluster: str, sweep_file: Callable[..., Path], tmp_path: Path
) -> None:
    """One after the other in one trial; after the mailbox died, the trial has workers of its own."""
    training = {"max_steps": 400, "batch_pairs": 4, "evaluations": 8}
    path = sweep_file(training=training, search={"trials": 1, "retries": 4})
    sweep = start("run", str(path), "--id", "killed", "--json")
    folder = tmp_path / "runs" / "killed"
    killed = ("RayTrainWorker", "ray::ImplicitFunc", "ray::Lanes", "RayTrainWorker")
    for step, name in zip((50, 100, 200, 300), killed, strict=True):
        evaluated = folder / f"outcomes/t0000-step-{step:06d}.parquet"
        wait_for(lambda f=evaluated: f.exists() or sweep.poll() is not None)
        kill(name)
    code, told = end_of(sweep)
    assert code == 0, told
    [record] = records_in(folder)
    every = list(range(50, 401, 50))
    assert (record.status, [e.step for e in record.evaluations]) == ("finished", every)


def kill(name: str) -> None:
    """Every process of the cluster that is called so; there must be one."""
    processes = [p for p in ray_processes() if name in " ".join(p.cmdline())]
    assert processes
    for process in processes:
        process.kill()


@pytest.mark.slow  # by default, tests/unit/sweeps/trials/test_asha.py and test_metrics.py
def test_asha_stops_weak_trials_and_gauges_are_live(
    ray_cluster: str, sweep_file: Callable[..., Path]
) -> None:
    path = sweep_file(
        space={"beta": 0.1, "learning_rate": {"choice": [1e-9, 0.01]}, "length_norm": "none"},
        search={"trials": 2, "scheduler": "asha", "sampler": "random"},
        # Long enough that the stop arrives before the end.
        training={"max_steps": 400, "batch_pairs": 4, "evaluations": 8},
        seed=0,
    )
    gauges: set[str] = set()
    sweep = start("run", str(path), "--json")
    while sweep.poll() is None:
        gauges |= set(re.findall(r"^(ray_dpo_sweeps_\w+)\{", exported_metrics(), re.MULTILINE))
        time.sleep(1)
    stdout, stderr = sweep.communicate()
    selection = selection_of(subprocess.CompletedProcess([], sweep.returncode, stdout, stderr))
    assert gauges == {f"ray_dpo_sweeps_{name}" for name in {**OF_TRIAL, **OF_SWEEP}}
    by_rate = {t["point"]["learning_rate"]: t["status"] for t in selection["trials"]}
    assert by_rate == {0.01: "finished", 1e-9: "stopped"}, "seed 0 draws the good rate first"


def test_what_the_cluster_cannot_give_is_refused_with_numbers(
    ray_cluster: str, sweep_file: Callable[..., Path]
) -> None:
    path = sweep_file(resources={"workers": 2, "cpus_per_worker": 8})
    started = time.monotonic()
    done = command("run", str(path))
    assert done.returncode == 2
    assert "need 16 CPUs and the cluster has 2" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 30
    assert not list(Path(path.parent, "runs").glob("toy*"))


def _plain_scorer(model: Path) -> Callable[[dict[str, Any], str], tuple[float, int]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)

    @torch.no_grad()
    def score(row: dict[str, Any], side: str) -> tuple[float, int]:
        prompt = tokenizer.apply_chat_template(
            row["prompt"], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        full = tokenizer.apply_chat_template(row["prompt"] + row[side], return_dict=True)[
            "input_ids"
        ]
        logps = net(torch.tensor([full])).logits[0].log_softmax(-1)
        answer = range(len(prompt), len(full))
        return sum(logps[i - 1, full[i]].item() for i in answer), len(answer)

    return score


def _cache_times(paths: SweepPaths) -> dict[str, int]:
    files = Path(paths.reference_cache.root).rglob("*.parquet")
    return {str(file): file.stat().st_mtime_ns for file in files}
