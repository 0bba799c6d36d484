"""The pairs that a model was trained on: from its own file, or from its sweep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpo_core.storage.store import Store
from sweeps.run_dir.final_register import row_question
from sweeps.run_dir.json_files import DamagedFile
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.training_pairs import TRAINING_PAIRS, TrainingPairs
from tests.support.ended_sweep import write_ended_sweep, write_split

TRAINED = TrainingPairs(frozenset({"x1", "x2"}), frozenset({row_question("Is it safe?")}))


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    paths = write_ended_sweep(tmp_path)
    write_split(paths, "train", [{"id": id, "prompt": "Is it safe?"} for id in ("x1", "x2")])
    return paths


def test_a_sweep_knows_its_training_pairs(paths: SweepPaths) -> None:
    assert TrainingPairs.of_sweep(paths) == TRAINED


def test_an_exported_model_has_them_in_a_file(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.write(f"model/{TRAINING_PAIRS}", TRAINED.encode())
    assert TrainingPairs.of_model(f"{tmp_path}/model") == TRAINED
    store.write(f"model/{TRAINING_PAIRS}", TRAINED.encode()[:-5])
    with pytest.raises(
        DamagedFile, match=r"training_pairs.json: is cut off; export the model again"
    ):
        TrainingPairs.of_model(f"{tmp_path}/model")


def test_a_model_of_an_earlier_version_is_asked_for_its_sweep(paths: SweepPaths) -> None:
    assert TrainingPairs.of_model(f"{paths.store.uri}/{paths.best}") == TRAINED


def test_of_other_models_nobody_knows(paths: SweepPaths, tmp_path: Path) -> None:
    assert TrainingPairs.of_model(f"{tmp_path}/production") is None
    paths.store.delete(paths.split("train"))
    assert TrainingPairs.of_model(f"{paths.store.uri}/{paths.best}") is None


def test_the_file_is_json_that_others_can_read() -> None:
    assert json.loads(TRAINED.encode())["pairs"] == ["x1", "x2"]
