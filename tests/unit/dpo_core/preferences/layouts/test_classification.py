"""Every column is used, or named as ignored, or refused where it would change what is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences import LoadedData, as_chat, load_data
from dpo_core.settings import SourceSettings
from tests.support.preference_rows import write_jsonl

ROW = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}


def load(path: Path, rows: list[dict[str, Any]], **settings: Any) -> LoadedData:
    source = SourceSettings(path=str(write_jsonl(path / "rows.jsonl", rows)), **settings)
    return load_data([source])


def load_error(path: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_data([SourceSettings(path=str(path), **settings)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("images", ["aGk="], "`images` holds ['aGk='], and only text can be trained on"),
        ("audio", {"bytes": "x"}, "and only text can be trained on"),
        ("context", "A page.", "which may belong to the prompt, and nothing reads it; say what"),
        ("history", [["Hi", "Hello"]], "may belong to the prompt"),
        ("documents", ["a"], "or leave it out there with `ignore: [documents]`"),
        ("functions", '[{"name": "f"}]', "may belong to the prompt"),
    ],
)
def test_a_column_that_would_be_lost_is_refused_by_name(
    tmp_path: Path, column: str, value: object, message: str
) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [ROW, {**ROW, column: value}])
    error = load_error(path)
    assert error.startswith(f"{path}:2: `{column}` holds")
    assert message in error
    source = SourceSettings(path=str(path), columns={"ignore": [column]})
    assert load_data([source]).columns["rows"].ignored == (column,)


@pytest.mark.parametrize("nothing", [None, "", [], {}, " ", [None], [{"bytes": None}]])
def test_null_and_empty_are_no_value(tmp_path: Path, nothing: object) -> None:
    loaded = load(tmp_path, [{**ROW, "images": nothing, "system": nothing, "tools": nothing}])
    assert loaded.columns["rows"].ignored == ("images",)
    assert not loaded.pairs[0].is_chat


def test_unknown_columns_are_carried_along_and_named_also_those_of_later_rows(
    tmp_path: Path,
) -> None:
    rows = [{**ROW, "id": 3}] * 70 + [{**ROW, "colour": "red"}]
    use = load(tmp_path, rows).columns["rows"]
    assert use.used == {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    assert use.ignored == ("colour", "id")


@pytest.mark.parametrize("column", ["system", "system_prompt", "system_message"])
def test_a_system_column_is_used_in_every_layout(tmp_path: Path, column: str) -> None:
    for name in ("prompt", "question", "instruction"):
        row = {name: "Why?", "chosen": "Because.", "rejected": "No.", column: "Be short."}
        loaded = load(tmp_path, [row])
        assert loaded.pairs[0].prompt[0] == {"role": "system", "content": "Be short."}
        assert loaded.columns["rows"].used[column] == "system"


def test_two_system_columns_must_agree(tmp_path: Path) -> None:
    rows = [{**ROW, "system": "Be short.", "system_prompt": "Be long."}]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    assert "`system` and `system_prompt` have different values" in load_error(path)
    source = SourceSettings(path=str(path), columns={"ignore": ["system_prompt"]})
    assert load_data([source]).pairs[0].prompt[0]["content"] == "Be short."


def test_columns_that_leave_out_the_system_text_are_refused(tmp_path: Path) -> None:
    row = {"frage": "Why?", "gut": "Because.", "schlecht": "No.", "history": [["Hi", "Hello"]]}
    columns = {"prompt": "frage", "chosen": "gut", "rejected": "schlecht"}
    path = write_jsonl(tmp_path / "rows.jsonl", [row])
    assert "`history` holds" in load_error(path, columns=columns)
    loaded = load(tmp_path, [row], columns=columns | {"history": "history"})
    assert [m["content"] for m in as_chat(loaded.pairs[0]).prompt] == ["Hi", "Hello", "Why?"]


def test_weight_and_margin_count_only_when_asked_for(tmp_path: Path) -> None:
    rows = [{**ROW, "weight": 2.0, "margin": 0.5}]
    plain = load(tmp_path, rows)
    assert (plain.pairs[0].weight, plain.pairs[0].margin) == (None, None)
    assert plain.columns["rows"].ignored == ("margin", "weight")
    columns = {name: name for name in ("prompt", "chosen", "rejected", "weight", "margin")}
    asked = load(tmp_path, rows, columns=columns)
    assert (asked.pairs[0].weight, asked.pairs[0].margin) == (2.0, 0.5)
    assert asked.columns["rows"].ignored == ()


def test_parts_of_a_column_that_are_not_read_are_named(tmp_path: Path) -> None:
    answers = [
        {"response": text, "overall_score": score, "custom_system_prompt": "Be kind."}
        for text, score in (("Because.", 9), ("No.", 2))
    ]
    use = load(tmp_path, [{"instruction": "Why?", "completions": answers}]).columns["rows"]
    assert use.sentence == "read as UltraFeedback ratings: best against worst by overall_score"
    assert use.ignored == ("completions[].custom_system_prompt",)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("rankings", [{"prompt": "Why?", "responses": ["Because.", "No."], "scores": [2, 1]}]),
        (
            "red_team",
            [
                {"prompt": "Why?", "response": "Because.", "label": "safe"},
                {"prompt": "Why?", "response": "No.", "label": "harmful"},
            ],
        ),
        ("golden", [{"prompt": "Why?", "golden": "Because."}]),
    ],
)
def test_other_kinds_lose_nothing_either(
    tmp_path: Path, kind: Any, rows: list[dict[str, Any]]
) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    full = [{**row, "system": "Be short.", "tools": [tool], "note": 1} for row in rows]
    loaded = load(tmp_path, full, kind=kind)
    pair = as_chat(loaded.pairs[0])
    assert [message["role"] for message in pair.prompt] == ["system", "user"]
    assert pair.tools == (tool,)
    assert loaded.columns["rows"].ignored == ("note",)
    path = write_jsonl(tmp_path / "rows.jsonl", [{**row, "images": ["x"]} for row in rows])
    assert "`images` holds" in load_error(path, kind=kind)
