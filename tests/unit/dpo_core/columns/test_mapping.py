"""The value of data.columns is checked when the configuration is read."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.columns.mapping import Choice, ColumnMapping
from dpo_core.settings import DataSettings, SourceSettings

PAIR = {"chosen": "chosen", "rejected": "rejected"}


@pytest.mark.parametrize(
    ("columns", "shape"),
    [
        ({"prompt": "question", "system": "system", **PAIR}, "pairs"),
        (PAIR, "pairs"),
        ({"a": "x", "b": "y", "winner": {"column": "w", "a": 1, "b": 0}}, "votes"),
        ({"prompt": "p", "responses": "r", "scores": "s"}, "rankings"),
        ({"prompt": "p", "responses": ["r1", "r2"], "ranks": ["k1", "k2"]}, "rankings"),
        ({"prompt": "p", "response": "r", "score": "s"}, "scored"),
        ({"prompt": "p", "response": "r", "label": "l"}, "labelled"),
        ({"prompt": "p", "golden": "g"}, "golden"),
    ],
)
def test_the_fields_tell_what_rows_are(columns: dict[str, object], shape: str) -> None:
    assert ColumnMapping.parse(columns).shape == shape


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"promt": "p", **PAIR}, "'promt' is none of prompt, system"),
        ({"prompt": "p"}, "nothing makes no pairs; give chosen and rejected"),
        ({"prompt": "p", "chosen": "c"}, "chosen makes no pairs"),
        ({"prompt": 3, **PAIR}, "prompt: 3 must be the name of a column"),
        ({"prompt": "a..b", **PAIR}, r"prompt: 'a..b' is no path to a column"),
        ({"prompt": {"column": "p", "read": "loud"}, **PAIR}, "prompt: read: 'loud' is none of"),
        ({"prompt": {"path": "p"}, **PAIR}, "must be {column: …}"),
        ({"a": "x", "b": "y", "winner": "w"}, "winner: 'w' must be {column: …, a: …, b: …}"),
        ({"ignore": [], **PAIR}, r"\[\] must be the name of a column"),
    ],
)
def test_a_wrong_mapping_is_refused_by_the_settings(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSettings(path="pairs.jsonl", columns=columns)


def test_layout_and_columns_exclude_each_other_and_layouts_have_names() -> None:
    with pytest.raises(ValueError, match="leave layout out beside it"):
        DataSettings(path="pairs.jsonl", layout="orca", columns=PAIR)
    with pytest.raises(ValueError, match="'orka' is no published layout; did you mean orca"):
        DataSettings(path="pairs.jsonl", layout="orka")
    with pytest.raises(ValueError, match="columns is of one source"):
        DataSettings(sources=[SourceSettings(path="a.jsonl")], columns=PAIR)
    assert DataSettings(path="pairs.jsonl", layout="orca", columns={"ignore": ["images"]})


def test_a_source_hands_its_keys_on() -> None:
    data = DataSettings(path="pairs.jsonl", columns=PAIR, final_path="final.jsonl")
    assert [source.columns for source in data.all_sources] == [PAIR]
    assert data.fixed_splits["final"].columns == PAIR


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("golden", {"columns": PAIR}),
        ("rankings", {"layout": "orca"}),
        ("pairs", {"columns": {"golden": "g"}}),
    ],
)
def test_columns_fit_the_kind_of_a_source(kind: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"and kind {kind} has .*; give kind: "):
        SourceSettings(path="pairs.jsonl", kind=kind, **settings)


@pytest.mark.parametrize(
    ("written", "value", "outcome"),
    [
        ({"a": 1, "b": 0}, 1, "a"),
        ({"a": 1, "b": 0}, "0", "b"),
        ({"a": 1, "b": 0}, 0.0, "b"),
        ({"a": 1, "b": 0}, True, "a"),
        ({"a": 1, "b": 0}, 2, None),
        ({"a": 1, "b": 0}, None, None),
        ({"a": "model_a", "b": "model_b", "tie": ["tie", "both bad"]}, "both bad", "tie"),
        ({"a": "< 0", "b": "> 0", "tie": 0}, -2, "a"),
        ({"a": "< 0", "b": "> 0", "tie": 0}, "1.5", "b"),
        ({"a": "< 0", "b": "> 0", "tie": 0}, 0, "tie"),
        ({"a": "<= 2", "b": ">= 3"}, 3, "b"),
        ({"a": "<= 2", "b": ">= 3"}, "much", None),
    ],
)
def test_a_winner_is_named_by_value_or_by_comparison(
    written: dict[str, object], value: object, outcome: str | None
) -> None:
    columns = {"a": "x", "b": "y", "winner": {"column": "w", **written}}
    winner = ColumnMapping.parse(columns).fields["winner"]
    assert isinstance(winner, Choice)
    assert winner.outcome(value) == outcome
