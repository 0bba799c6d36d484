"""Settings of model, data and training: their rules, their messages, their steps."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dpo_core.settings import (
    DataSettings,
    LoraSettings,
    ModelSettings,
    SourceSettings,
    TrainingSettings,
)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: LoraSettings(targets=["q_proj", "lm_head"]),
            "lm_head would never be trained through an adapter; leave it out",
        ),
        (
            lambda: LoraSettings(targets="["),
            r"targets: '\[' is no regular expression \(unterminated character set",
        ),
        (lambda: LoraSettings(rank=0), "greater than or equal to 1"),
        (lambda: ModelSettings(path=""), "at least 1 character"),
        (lambda: ModelSettings(path="x", dtype="int8"), "'float32', 'bfloat16' or 'float16'"),
        (
            lambda: DataSettings(path="x", select_fraction=0.5, final_fraction=0.6),
            r"select_fraction \+ final_fraction = 1.1 leaves nothing to train on; keep the sum",
        ),
        (lambda: DataSettings(path="x", select_fraction=0.0), "greater than 0"),
        (lambda: DataSettings(path="x", max_tokens=8), "greater than or equal to 16"),
        (lambda: TrainingSettings(), "give either max_steps or epochs, and not both"),
        (lambda: TrainingSettings(max_steps=1, epochs=1.0), "give either max_steps or epochs"),
        (lambda: TrainingSettings(max_steps=1, batch_size=2), "Extra inputs are not permitted"),
    ],
)
def test_a_broken_rule_is_named(build: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ModelSettings(path="x").path = "y"  # type: ignore[misc]


def test_steps_by_hand() -> None:
    assert TrainingSettings(max_steps=7).steps(1000) == 7
    assert TrainingSettings(epochs=2, batch_pairs=8).steps(100) == 25  # 200 / 8
    assert TrainingSettings(epochs=1, batch_pairs=8).steps(101) == 13  # ⌈12.6⌉
    assert TrainingSettings(epochs=0.01, batch_pairs=8).steps(10) == 1


def test_evaluation_steps_by_hand() -> None:
    assert TrainingSettings(max_steps=10, evaluations=4).evaluation_steps(10) == (3, 5, 8, 10)
    assert TrainingSettings(max_steps=2, evaluations=5).evaluation_steps(2) == (1, 2)


@given(st.integers(1, 500), st.integers(1, 50))
def test_evaluations_are_distinct_even_and_end_with_training(steps: int, evaluations: int) -> None:
    settings = TrainingSettings(max_steps=steps, evaluations=evaluations)
    at = settings.evaluation_steps(steps)
    assert len(set(at)) == len(at) == min(steps, evaluations)
    assert list(at) == sorted(at)
    assert at[-1] == steps
    gaps = [b - a for a, b in zip((0, *at), at, strict=False)]
    assert max(gaps) - min(gaps) <= 1
    assert min(gaps) >= 1
    assert max(gaps) <= math.ceil(steps / len(at))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "give either path"),
        ({"path": "a", "sources": [{"path": "b"}]}, "give either path"),
        ({"sources": [{"path": "x/a.jsonl"}, {"path": "y/a.json"}]}, "two sources are called 'a'"),
        ({"sources": [{"path": "a", "weight": 1.0}, {"path": "b"}]}, "every source a weight"),
        ({"sources": [{"path": "a", "weight": 0.0}]}, "greater than 0"),
        ({"sources": [{"path": "a", "kind": "golden_eggs"}]}, "Input should be"),
        ({"sources": [{"path": "a"}], "limit": 5}, "limit is of one source; give it to each of"),
        ({"path": "a", "revision": "v1"}, "'v1' is of a hub data set, but path 'a' is a local one"),
        ({"sources": [{"path": "a", "revision": "v1"}]}, "'v1' is of a hub data set"),
        ({"path": "a", "data_files": "b", "split": "test"}, "leave split and subset out beside it"),
        ({"path": "a", "data_files": []}, "at least 1 item"),
        ({"path": "a", "limit": 0}, "greater than or equal to 1"),
    ],
)
def test_sources_that_contradict_each_other_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataSettings.model_validate(data)


def test_labels_and_weights() -> None:
    data = DataSettings(
        sources=[
            SourceSettings(path="s3://b/humans.v2.jsonl", weight=2.0),
            SourceSettings(path="org/red-team/", weight=1.0),
        ]
    )
    assert data.weights == {"humans.v2": 2.0, "red-team": 1.0}
    labels = {
        "a/pairs.jsonl.gz": "pairs",
        "hf://owner/name": "name",
        "hf://owner/name@v1": "name",
        "hf://owner/name@v1/data/helpful.jsonl.zst": "helpful",
    }
    assert {path: SourceSettings(path=path).label for path in labels} == labels
    assert SourceSettings(path="hf://a/hh", subset="a/b").label == "hh-a-b"
    assert DataSettings(path="a.jsonl").weights == {}
    assert [s.label for s in DataSettings(path="a.jsonl").all_sources] == ["a"]


def test_one_source_has_the_keys_of_the_whole() -> None:
    keys: dict[str, Any] = {"split": "test", "subset": "helpful", "revision": "v1", "limit": 7}
    data = DataSettings(path="hf://owner/name", **keys)
    assert data.all_sources == [SourceSettings(path="hf://owner/name", **keys)]
    files = DataSettings(path="folder", data_files=["a", "b"])
    assert files.all_sources == [SourceSettings(path="folder", data_files=["a", "b"])]
