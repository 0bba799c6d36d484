"""Every file that a resume reads, cut off at many places: it works, or says which file to delete.

The sweep is real but small: its preparation is run in this process, and its trials are scripted, with
outcomes, checkpoints and ledger as a worker and the driver leave them.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from safetensors.torch import save_file

from dpo_core.errors import UserError
from dpo_core.evaluation.outcomes import Outcomes, write_outcomes
from dpo_core.preferences import PreferenceSplits
from dpo_core.storage.store import Store
from dpo_core.training.checkpoints import write_manifest
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.config.strict_yaml import dump_yaml
from sweeps.finalize.export import exported, final_outcomes
from sweeps.finalize.final_split import read_openings
from sweeps.prepare.data import read_data, reading_report, split_data
from sweeps.prepare.pipeline import prepare
from sweeps.prepare.reuse import reusable_pairs, reusable_preparation
from sweeps.ray_runtime.lane_messages import TrialJob
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.json_types import ReadingReport
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared, read_encoded
from sweeps.search.drawn_point import DrawnPoint
from sweeps.search.pending_trials import first_free_number, pending_points
from sweeps.sweep import read_selection
from sweeps.trials.ledger_callback import LedgerCallback
from sweeps.trials.resume_checkpoint import newest_checkpoint
from tests.support.ended_sweep import open_final_of
from tests.support.toys import LENIENT

STEPS, SEED = (2, 4, 6), 0
POINT = {"beta": 0.1, "learning_rate": 0.003, "length_norm": "none"}
FINISHED, FAILED, OPEN = (
    DrawnPoint(f"t{n:04d}", {**POINT, "beta": b}, SEED) for n, b in enumerate((0.1, 0.2, 0.3))
)


def source(config: SweepConfig) -> tuple[PreferenceSplits, ReadingReport]:
    data = read_data(config)
    splits = split_data(config, data)
    return splits, reading_report(data, splits)


def here(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@pytest.fixture(scope="module")
def left_behind(
    toy_model: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The storage of a sweep that was killed: one trial finished, one failed, one at step 4 of 6."""
    storage = tmp_path_factory.mktemp("torn")
    tree = {
        "name": "torn",
        "storage": str(storage),
        "model": {"path": str(toy_model), "adapter": {"rank": 4}},
        "data": {"path": str(pairs_file), "max_tokens": 256},
        "space": {**POINT, "beta": {"uniform": [0.05, 0.5]}},
        "training": {"max_steps": STEPS[-1], "batch_pairs": 4, "evaluations": 3},
        "search": {"trials": 3},
        "selection": LENIENT,
    }
    config = parse_sweep(dump_yaml(tree), source="sweep.yaml")
    paths = SweepPaths(Store.open(storage), "torn")
    prepared = prepare(config, paths, *source(config), here)
    callback = LedgerCallback(config, paths, prepared, lambda _: None)
    for drawn in (FINISHED, FAILED, OPEN):
        paths.store.write(paths.point(drawn.trial), dump_json(drawn.as_dict()))
    for step in STEPS:
        evaluate(paths, FINISHED, step)
    callback.end(FINISHED, "finished")
    evaluate(paths, FAILED, 2)
    paths.store.write(paths.failure(FAILED.trial), dump_json({"reason": "nan", "detail": "loss"}))
    callback.end(FAILED, "failed", "nan", "loss")
    for step in STEPS[:-1]:
        evaluate(paths, OPEN, step)
    callback.publish()
    return storage


def dump_json(content: Any) -> bytes:
    return json.dumps(content).encode()


def evaluate(paths: SweepPaths, drawn: DrawnPoint, step: int) -> None:
    """What a worker stores: a checkpoint, then the outcomes of every held-out pair."""
    about = {"trial": drawn.trial, "point": dict(drawn.point), "seed": drawn.seed, "step": step}
    folder = Path(paths.store.root) / "scratch"
    folder.mkdir()
    save_file({"weight": torch.full((8,), float(step))}, folder / "adapter_model.safetensors")
    write_manifest(folder, about)
    paths.store.upload(folder, paths.checkpoint(drawn.trial, step), last="manifest.json")
    pairs = read_encoded(paths, "select")
    rng = np.random.default_rng(step)
    columns = [-rng.random(len(pairs)) for _ in range(4)]
    lengths = [np.array([len(getattr(p, side)) for p in pairs]) for side in ("chosen", "rejected")]
    outcomes = Outcomes(tuple(p.id for p in pairs), *columns, *lengths, tie_nats=1e-4)
    metadata = {"trial": drawn.trial, "step": step, "loss": 0.5, "split": "select"}
    paths.store.write(paths.outcome(drawn.trial, step), write_outcomes(outcomes, metadata))


@dataclass(frozen=True)
class Resumed:
    """What a resume finds before it trains anything."""

    records: dict[str, tuple[str, list[int], Any]]
    """Status, evaluated steps and point of each trial with a record."""
    goes_on: dict[str, int]
    """From which step each trial without one is trained further."""
    next_number: int
    needs_preparing: bool


def resumed(paths: SweepPaths) -> Resumed:
    """The reading that `resume` does, with the product's own functions, up to the first training."""
    config = read_config(paths)
    prepared = reusable_preparation(paths)
    usable = prepared or prepare(config, paths, *(reusable_pairs(paths) or source(config)), here)
    callback = LedgerCallback(config, paths, usable, lambda _: None)
    goes_on = {}
    for drawn in callback.to_be_run(pending_points(paths, callback.records, SEED)):
        job = TrialJob(paths.ref, drawn.trial, drawn.point, drawn.seed)
        with newest_checkpoint(paths, job) as folder:
            goes_on[drawn.trial] = 0 if folder is None else int(folder.name.removeprefix("step-"))
    callback.retention.reader.candidates(callback.records)
    if paths.store.exists(paths.selection):
        read_selection(paths)
    records = {
        r.trial: (r.status, [e.step for e in r.evaluations], r.point["beta"])
        for r in callback.records
    }
    number = first_free_number(paths, callback.records)
    return Resumed(records, goes_on, number, needs_preparing=prepared is None)


BEFORE = Resumed(
    {"t0000": ("finished", [2, 4, 6], 0.1), "t0001": ("failed", [2], 0.2)}, {"t0002": 4}, 3, False
)


@pytest.fixture
def copied(left_behind: Path, tmp_path: Path) -> Callable[[], SweepPaths]:
    def copy() -> SweepPaths:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(left_behind, tmp_path / "copy")
        return SweepPaths(Store.open(tmp_path / "copy"), "torn")

    return copy


def offsets(content: bytes, count: int = 20) -> list[int]:
    """Nothing, one byte, all but one, and others at random."""
    drawn = random.Random(len(content)).sample(range(len(content)), min(count - 3, len(content)))
    return sorted({0, 1, len(content) - 1, *drawn})


def names_of(store: Store, folder: str) -> list[str]:
    root = Path(store.root)
    return sorted(p.relative_to(root).as_posix() for p in (root / folder).rglob("*") if p.is_file())


def test_nothing_torn(copied: Callable[[], SweepPaths]) -> None:
    assert resumed(copied()) == BEFORE


def cut_everywhere(copied: Callable[[], SweepPaths], name: str) -> list[Resumed]:
    """What a resume finds for the file cut off at each offset; deletes it where it is told to."""
    paths, messages, states = copied(), [], []
    content = paths.store.read(name)
    for offset in offsets(content):
        paths = copied()
        paths.store.write(name, content[:offset])
        try:
            states.append(resumed(paths))
        except UserError as error:
            messages.append(str(error))
            paths.store.delete(name)
            states.append(resumed(paths))
    assert all(f"{name}: is damaged" in text and "delete it" in text for text in messages), messages
    return states


@pytest.mark.parametrize(
    "name",
    [
        "trials/t0000.json",
        "trials/t0001.json",
        "trials/t0002.json",
        "failures/t0001.json",
        "outcomes/t0000-step-000006.parquet",
        "outcomes/t0001-step-000002.parquet",
    ],
)
def test_what_costs_nothing(copied: Callable[[], SweepPaths], name: str) -> None:
    assert all(state == BEFORE for state in cut_everywhere(copied, name))


def test_the_ledger(copied: Callable[[], SweepPaths]) -> None:
    """Trials whose lines are lost are recorded again from what they left; none is trained again."""
    assert all(state == BEFORE for state in cut_everywhere(copied, "ledger.jsonl"))
    paths = copied()
    paths.store.delete("ledger.jsonl")
    assert resumed(paths) == BEFORE


@pytest.mark.parametrize(
    "name",
    [
        "outcomes/t0002-step-000004.parquet",
        "checkpoints/t0002/step-000004/manifest.json",
        "checkpoints/t0002/step-000004/adapter_model.safetensors",
    ],
)
def test_a_damaged_newest_state_costs_one_step_and_not_all(
    copied: Callable[[], SweepPaths], name: str
) -> None:
    for state in cut_everywhere(copied, name):
        assert (state.records, state.next_number) == (BEFORE.records, 3)
        assert state.goes_on == {"t0002": 2}


@pytest.mark.parametrize(
    "folder",
    ["splits", "prepared.json"]
    + [pytest.param(folder, marks=pytest.mark.slow) for folder in ("encoded", "pairs", ".cache")],
)
def test_what_can_be_made_again_is(
    copied: Callable[[], SweepPaths], folder: str, pairs_file: Path
) -> None:
    """Whatever is cut off is noticed; what it is made from is in the folder, if not torn itself."""
    paths = copied()
    store = paths.storage if folder == ".cache" else paths.store
    names = [folder] if folder == "prepared.json" else names_of(store, folder)
    names = [name for name in names if not name.endswith(".lock")]
    assert names
    for name in names:
        content = store.read(name)
        for offset in offsets(content):
            store.write(name, content[:offset])
            assert "sharing" in name or reusable_preparation(paths) is None, (name, offset)
        if "sharing" not in name:
            state = resumed(paths)
            assert (state.records, state.goes_on) == (BEFORE.records, BEFORE.goes_on)
            assert store.read(name) == content or folder == "prepared.json"
        store.write(name, content)


def test_pairs_that_changed_meanwhile_do_not_slip_in(copied: Callable[[], SweepPaths]) -> None:
    paths = copied()
    paths.store.write("pairs/select.arrow", paths.store.read("pairs/select.arrow")[:-1])
    config = read_config(paths)
    now, reading = source(config)
    other = replace(now, train=now.train[1:])
    with pytest.raises(UserError, match="the data has changed since"):
        prepare(config, paths, other, reading, here)
    prepare(config, paths, now, reading, here)
    assert reusable_preparation(paths) is not None


def test_the_config_says_that_it_is_whole(copied: Callable[[], SweepPaths]) -> None:
    """The beginning of a YAML file is a YAML file: a torn `max_steps: 40` must not run as 4."""
    paths = copied()
    content = paths.store.read("config.yaml")
    for offset in offsets(content)[:-1]:
        paths.store.write("config.yaml", content[:offset])
        with pytest.raises(UserError, match=r"config.yaml: is cut off.*delete it, and .*--id torn"):
            read_config(paths)


def test_a_trial_of_which_nothing_is_known_is_drawn_anew(copied: Callable[[], SweepPaths]) -> None:
    paths = copied()
    paths.store.delete("checkpoints/t0002")
    paths.store.write("trials/t0002.json", b"")
    state = resumed(paths)
    assert (state.goes_on, state.next_number) == ({}, 2)
    assert not paths.evaluations_of("t0002"), "or they would count as the next point's"


def test_lost_folders(copied: Callable[[], SweepPaths]) -> None:
    """Also what is derived: Tune's own files and the study."""
    paths = copied()
    for name in ("trials", "ray", "study.db"):
        paths.store.delete(name)
    assert resumed(paths) == BEFORE


def test_the_study_is_made_from_the_ledger(copied: Callable[[], SweepPaths]) -> None:
    paths = copied()
    paths.store.write("study.db", paths.store.read("study.db")[:5000])
    LedgerCallback(read_config(paths), paths, Prepared.read(paths), lambda _: None).publish()
    study = optuna.load_study(study_name="torn", storage=f"sqlite:///{paths.store.root}/study.db")
    states = {t.user_attrs["trial"]: t.state.name for t in study.trials}
    assert states == {"t0000": "COMPLETE", "t0001": "FAIL"}


def test_a_checkpoint_of_another_point_is_not_gone_on_with(left_behind: Path) -> None:
    paths = SweepPaths(Store.open(left_behind), "torn")
    for point, seed in (({**POINT, "beta": 0.4}, SEED), (OPEN.point, SEED + 1)):
        job = TrialJob(paths.ref, OPEN.trial, point, seed)
        with newest_checkpoint(paths, job) as folder:
            assert folder is None


def test_what_tells_of_the_end(copied: Callable[[], SweepPaths]) -> None:
    paths = copied()
    name = paths.final_outcome(FINISHED.trial, 6)
    whole = paths.store.read(paths.outcome(FINISHED.trial, 6))
    for offset in offsets(whole):
        paths.store.write(name, whole[:offset])
        assert final_outcomes(paths, FINISHED.trial, 6) is None, "it is scored again"
    paths.store.write("selection.json", b'{"sweep": "to')
    with pytest.raises(UserError, match=r"selection.json: is cut off; .*resume .* writes it again"):
        read_selection(paths)
    open_final_of(paths, "t0000 at step 6", "2026-01-01")
    content = paths.store.read(paths.final_opened)
    for offset in offsets(content):
        paths.store.write(paths.final_opened, content[:offset])
        with pytest.raises(UserError, match=r"final_opened.json: is (empty|cut off); .*delete it"):
            read_openings(paths)
    paths.store.write(f"{paths.best}/config.json", b"{}")
    assert exported(paths) is None
