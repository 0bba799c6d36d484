"""Several sources in one sweep: loaded together, mixed by weight, told apart afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dpo_core.errors import DataError
from dpo_core.evaluation.outcomes import Outcomes, label_slices
from dpo_core.preferences import load_data
from dpo_core.settings import DataSettings, SourceSettings
from tests.support.toys import write_toy_pairs


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def sources(tmp_path: Path) -> list[SourceSettings]:
    ranks = {"prompt": "Which?", "responses": ["a", "b", "c"], "ranks": [1, 2, 3]}
    rows = [{**ranks, "annotator": name} for name in ("ann", "bob")]
    red = [
        {"prompt": "Poison?", "response": "No.", "label": "safe", "category": "poison"},
        {"prompt": "Poison?", "response": "Sure.", "label": "harmful"},
    ]
    return [
        SourceSettings(path=str(write_toy_pairs(tmp_path / "humans.jsonl", 5))),
        SourceSettings(path=write(tmp_path / "ranks.jsonl", rows), kind="rankings", rule="all"),
        SourceSettings(name="red", path=write(tmp_path / "r.jsonl", red), kind="red_team"),
    ]


def test_each_pair_remembers_its_source(sources: list[SourceSettings]) -> None:
    loaded = load_data(sources)
    assert [pair.source for pair in loaded.pairs] == ["humans"] * 5 + ["ranks"] * 3 + ["red"]
    assert loaded.pairs[-1].category == "poison"
    assert loaded.agreement == {"ranks": pytest.approx(1.0)}
    assert len({pair.id for pair in loaded.pairs}) == 9


def test_the_same_pair_in_two_sources_keeps_two_ids(sources: list[SourceSettings]) -> None:
    again = sources[0].model_copy(update={"name": "again"})
    ids = [pair.id for pair in load_data([sources[0], again]).pairs]
    assert ids[5:] == [f"{i}-2" for i in ids[:5]]


def test_a_source_without_a_pair_is_named(tmp_path: Path) -> None:
    ties = [{"prompt": "Which?", "responses": ["a", "b"], "ranks": [1, 1]}]
    source = SourceSettings(path=write(tmp_path / "ties.jsonl", ties), kind="rankings")
    with pytest.raises(DataError, match=r"ties\.jsonl: gives no pair \(rankings\)"):
        load_data([source])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give either path"),
        ({"path": "a", "sources": [{"path": "b"}]}, "give either path"),
        ({"sources": [{"path": "x/a.jsonl"}, {"path": "y/a.json"}]}, "two sources are called 'a'"),
        ({"sources": [{"path": "a", "weight": 1.0}, {"path": "b"}]}, "every source a weight"),
        ({"sources": [{"path": "a", "weight": 0.0}]}, "greater than 0"),
        ({"sources": [{"path": "a", "kind": "golden_eggs"}]}, "Input should be"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DataSettings.model_validate(given)


def test_labels_and_weights() -> None:
    data = DataSettings(
        sources=[
            SourceSettings(path="s3://b/humans.v2.jsonl", weight=2.0),
            SourceSettings(path="org/red-team/", weight=1.0),
        ]
    )
    assert data.weights == {"humans.v2": 2.0, "red-team": 1.0}
    assert DataSettings(path="a.jsonl").weights == {}
    assert [s.label for s in DataSettings(path="a.jsonl").all_sources] == ["a"]


def test_accuracy_is_told_apart_by_source_and_category() -> None:
    gains = np.array([1.0, -1.0, 1.0, 0.0])
    zeros, ones = np.zeros(4), np.ones(4, dtype=np.int64)
    outcomes = Outcomes(("a", "b", "c", "d"), gains, zeros, zeros, zeros, ones, ones)
    labels: dict[str, dict[str, str | None]] = {
        "source": {"a": "x", "b": "x", "c": "y", "d": "y"},
        "category": {"a": None, "b": "dose"},
        "one value": dict.fromkeys("abcd", "same"),
    }
    slices = label_slices(outcomes, "reward_accuracy", labels)
    assert slices["source"]["x"] == {"correct": 1, "ties": 0, "total": 2, "accuracy": 0.5}
    assert slices["source"]["y"] == {"correct": 1, "ties": 1, "total": 2, "accuracy": 0.75}
    assert set(slices["category"]) == {"dose", "none"}
    assert "one value" not in slices


def test_bad_rows_fail_or_are_skipped_and_listed(tmp_path: Path) -> None:
    good = [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(2)]
    path = tmp_path / "pairs.jsonl"
    lines = [json.dumps(good[0]), "{not json", '{"prompt": "p"}', "", "[]", json.dumps(good[1])]
    path.write_text("\n".join(lines) + "\n")
    source = SourceSettings(path=str(path))
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: invalid JSON"):
        load_data([source])
    loaded = load_data([source], skip_bad_rows=True)
    assert [pair.line for pair in loaded.pairs] == [1, 6]
    assert [reason.removeprefix(f"{path}:")[:2] for reason in loaded.skipped] == [
        "2:",
        "3:",
        "4:",
        "5:",
    ]


def test_when_every_row_is_bad_skipping_does_not_help(tmp_path: Path) -> None:
    source = SourceSettings(path=write(tmp_path / "bad.jsonl", [{"prompt": "p"}, {"x": 1}]))
    with pytest.raises(DataError, match=r"every row is bad, 2 in all; the first: .*bad\.jsonl:1: "):
        load_data([source], skip_bad_rows=True)


def test_the_examples_that_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.resources import files

    from dpo_core.preferences.golden import is_unanswered
    from sweeps.config.load import load_sweep

    folder = Path(str(files("sweeps.demo")))
    monkeypatch.chdir(folder)
    config = load_sweep(folder / "sources.yaml")
    loaded = load_data(config.data.all_sources)
    count = {s.label: sum(p.source == s.label for p in loaded.pairs) for s in config.data.sources}
    assert count == {"pharmacy": 174, "rankings": 3 + 1 + 3, "red_team": 3, "golden": 4}
    assert sum(map(is_unanswered, loaded.pairs)) == 4
    assert loaded.agreement["rankings"] > 0.9
    assert all(pair.category for pair in loaded.pairs if pair.source != "pharmacy")
