"""Which splits prompts keep: those of opened finals, and in nights the incumbent's training prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_core.preferences import LoadedData, PairTable, PreferenceSplits
from dpo_core.preferences.pairs import normalized_question, question_id
from dpo_core.storage.store import Store
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.prepare.data import full_splits, kept_prompts, reading_report, split_data
from sweeps.run_dir.final_register import AskedOpening, FinalRegister
from sweeps.run_dir.training_pairs import TRAINING_PAIRS, TrainingPairs
from tests.support.toys import toy_pairs

ASKED = AskedOpening("hh-1", None, "t0001 at step 8", "reference", "c", "2026-01-01")
LOADED = LoadedData(PairTable.of(toy_pairs(300)), {})


@pytest.fixture
def config(tmp_path: Path) -> SweepConfig:
    return config_of(tmp_path, 0)


def config_of(storage: Path, seed: int) -> SweepConfig:
    return parse_sweep(
        f"name: toy\nseed: {seed}\nstorage: {storage}\nmodel: {{path: m}}\nspace: lora\n"
        "data: {path: pairs.jsonl, min_similarity: 1.0}\ntraining: {max_steps: 4}\n",
        source="sweep.yaml",
    )


def questions(splits: PreferenceSplits, name: str) -> set[str]:
    return {question_id(normalized_question(pair.prompt)) for pair in getattr(splits, name)}


def test_pairs_of_an_opened_final_never_enter_train(tmp_path: Path, config: SweepConfig) -> None:
    store = Store.open(tmp_path)
    first = split_data(config, LOADED, kept_prompts(store))
    assert kept_prompts(store) == {}
    FinalRegister.of(store).record(ASKED, questions(first, "final"), 1)
    assert kept_prompts(store) == dict.fromkeys(questions(first, "final"), "final")
    for seed in range(5):
        splits = split_data(config_of(tmp_path, seed), LOADED, kept_prompts(store))
        assert questions(splits, "final") >= questions(first, "final")
    assert split_data(config, LOADED, kept_prompts(store)).final[0] == first.final[0]


def test_training_prompts_of_the_nights_incumbent_stay_in_train(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    first = split_data(config_of(tmp_path, 0), LOADED)
    trained = TrainingPairs(frozenset(), frozenset(questions(first, "train")))
    store.write(f"best/{TRAINING_PAIRS}", trained.encode())
    FinalRegister.of(store).record(ASKED, questions(first, "final"), 30)
    kept = kept_prompts(store, f"{tmp_path}/best")
    for seed in range(5):
        splits = split_data(config_of(tmp_path, seed), LOADED, kept)
        assert questions(splits, "train") >= trained.questions
        assert questions(splits, "final") >= questions(first, "final")


def test_left_out_pairs_are_in_the_report() -> None:
    splits = PreferenceSplits((), (), (), left_out=toy_pairs(2))
    assert reading_report(LOADED, splits)["rows_left_out"] == ["data:1", "data:2"]


def test_held_out_splits_are_as_large_as_the_config_lets_them(
    tmp_path: Path, config: SweepConfig
) -> None:
    assert config.data.most_pairs == {"select": 2000, "final": 2000}
    free = split_data(config, LOADED)
    assert full_splits(free.over_limit) is None
    data = config.data.model_copy(update={"select_pairs": 10, "final_pairs": None})
    splits = split_data(config.model_copy(update={"data": data}), LOADED)
    assert (len(splits.select), len(splits.final)) == (10, len(free.final))
    beyond = len(free.select) - 10
    assert full_splits(splits.over_limit) == f"{beyond} beyond data.select_pairs are in train"
    assert full_splits({"select": 3, "final": 4}) == (
        "3 beyond data.select_pairs and 4 beyond data.final_pairs are in train"
    )
