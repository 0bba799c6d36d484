"""The command `preview`: what the first rows become, with bad rows in their places."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_core.errors import DataError
from dpo_core.preferences import sources
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.layouts.recognition import FIRST_ROWS
from dpo_core.preferences.sources import first_rows
from dpo_core.settings import SourceSettings
from sweeps.preflight.preview import printable
from tests.support import chat_templates
from tests.support.in_process import command
from tests.support.toys import save_toy_model

GOOD = {"prompt": "May I take two?", "chosen": "No.", "rejected": "Yes."}
PAIR = {
    "prompt": [{"role": "user", "content": "May I take two?"}],
    "chosen": [{"role": "assistant", "content": "No."}],
    "rejected": [{"role": "assistant", "content": "Yes."}],
}


@pytest.fixture
def preview(toy_model: Path, tmp_path: Path) -> Any:
    """Return a function that previews rows: `(rows, *arguments, **data)` -> stdout and stderr."""

    def run(rows: Sequence[Mapping[str, Any]], *arguments: str, code: int = 0, **data: Any) -> str:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        source = {"path": str(path)}
        for key in ("kind", "rule"):
            if key in data:
                source[key] = data.pop(key)
        tree = {
            "name": "previewed",
            "storage": str(tmp_path / "runs"),
            "model": {"path": str(data.pop("model", toy_model))},
            "data": {"sources": [source], **data},
            "space": "lora",
            "training": {"max_steps": 1},
        }
        sweep = tmp_path / "sweep.yaml"
        sweep.write_text(yaml.safe_dump(tree))
        done = command("preview", str(sweep), *arguments)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


def as_json(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def test_a_row_becomes_a_pair_a_text_tokens_and_findings(preview: Any) -> None:
    [row] = as_json(preview([GOOD], "--json"))
    assert row["pair"] == PAIR
    assert set(row) == {"location", "pair", "text", "tokens", "findings"}
    assert row["location"] == "rows:1"
    assert row["text"]["prompt"].endswith("May I take two?<|im_end|>\n<|im_start|>assistant\n")
    assert row["text"]["chosen"].startswith("No.")
    assert {side: count > 0 for side, count in row["tokens"].items()} == {
        "prompt": True,
        "chosen": True,
        "rejected": True,
    }
    assert row["findings"] == []


def test_the_first_rows_are_shown_and_a_bad_one_in_its_place(preview: Any) -> None:
    rows = [GOOD, {"prompt": "x"}, {**GOOD, "prompt": "Third?"}, {**GOOD, "prompt": "Fourth?"}]
    first, second, third = as_json(preview(rows, "--json"))
    assert first["location"] == "rows:1"
    assert "rows.jsonl:2: missing columns" in second["error"]
    assert third["location"] == "rows:3"
    assert len(as_json(preview(rows, "--json", "--rows", "1"))) == 1


def test_tools_and_template_settings_are_in_the_pair(preview: Any) -> None:
    tool = {"type": "function", "function": {"name": "stock", "parameters": {}}}
    row = {**GOOD, "tools": [tool], "chat_template_kwargs": {"enable_thinking": False}}
    [shown] = as_json(preview([row], "--json"))
    assert shown["pair"]["tools"] == [tool]
    assert shown["pair"]["chat_template_kwargs"] == {"enable_thinking": False}


def test_the_findings_of_a_row_and_what_was_cut_are_shown(preview: Any) -> None:
    row = {**GOOD, "prompt": "Word " * 80, "chosen": "No.<|im_end|>"}
    [shown] = as_json(preview([row], "--json", max_tokens=96))
    codes = {finding["code"]: finding["severity"] for finding in shown["findings"]}
    assert codes["ended_answers"] == "severe"
    assert "cut" in codes
    text = preview([row], max_tokens=96)
    assert "(0 oldest turns, and " in text
    assert "tokens of the last turn), 0 of the answers" in text
    assert "severe: pairs like this one have an answer that ends in <|im_end|>;" in text


def test_the_trained_part_is_marked(preview: Any) -> None:
    lines = preview([GOOD]).splitlines()
    assert "  prompt, user: May I take two?" in lines
    assert any(line.startswith("    | ") and "May I take two?" in line for line in lines)
    assert any(line.startswith("    + No.") for line in lines)
    assert any(line.startswith("    - Yes.") for line in lines)


def test_a_pair_that_the_template_refuses_is_shown_with_the_error(
    preview: Any, tmp_path: Path
) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "stock", "arguments": {}}}
    prompt = [
        {"role": "user", "content": "Stock?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "12", "tool_call_id": "1"},
    ]
    model = save_toy_model(tmp_path / "strict", chat_template=chat_templates.REFUSES_TOOLS)
    first, second = as_json(preview([{**GOOD, "prompt": prompt}, GOOD], "--json", model=model))
    assert "the model's chat template refuses this row" in first["error"]
    assert "This model calls no tools" in first["error"]
    assert first["pair"]["prompt"][1]["tool_calls"] == [call]
    assert "text" not in first
    assert second["pair"] == PAIR
    text = preview([{**GOOD, "prompt": prompt}], model=model, code=2)
    assert "  prompt, tool: 12" in text


def test_texts_that_stay_texts_are_strings(preview: Any) -> None:
    [row] = as_json(preview([GOOD], "--json", format="text"))
    assert row["pair"] == GOOD
    assert row["text"]["prompt"].endswith("May I take two?")


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("rankings", [{"prompt": GOOD["prompt"], "responses": ["Yes.", "No."], "ranks": [2, 1]}]),
        (
            "red_team",
            [
                {"prompt": GOOD["prompt"], "response": "No.", "label": "safe"},
                {"prompt": GOOD["prompt"], "response": "Yes.", "label": "harmful"},
            ],
        ),
    ],
)
def test_other_kinds_of_sources_are_shown(kind: str, rows: list, preview: Any) -> None:
    [row, bad] = as_json(preview([*rows, {"prompt": "x"}], "--json", kind=kind))
    assert row["pair"] == PAIR
    assert "rows.jsonl:" in bad["error"]


def test_a_golden_answer_has_no_rejected_side_yet(preview: Any) -> None:
    rows = [{"prompt": GOOD["prompt"], "golden": "No."}]
    [row] = as_json(preview(rows, "--json", kind="golden"))
    assert row["pair"] == {**PAIR, "rejected": []}
    assert row["tokens"]["rejected"] == 0
    assert row["text"]["rejected"] == ""
    assert "the model's own answer, which the run generates" in preview(rows, kind="golden")


def test_formatted_text_is_shown_as_the_setting_reads_it(preview: Any) -> None:
    row = {**GOOD, "prompt": "<|im_start|>user\nMay I take two?<|im_end|>\n<|im_start|>assistant\n"}
    [shown] = as_json(preview([row], "--json", format="rendered"))
    assert shown["pair"] == PAIR
    assert shown["findings"] == []


def test_a_terminal_gets_no_control_characters(preview: Any) -> None:
    row = {**GOOD, "prompt": "May \x1b[31mI\x1b]0;x\x07?\r\u202e", "chosen": "No.\x9b1m"}
    text = preview([row])
    assert not set(text) & {"\x1b", "\x07", "\r", "\x9b", "\u202e"}
    assert "May \\x1b[31mI" in text
    assert printable("a\tb") == "a\tb"


def test_no_more_rows_are_read_than_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def endless(*_: object, **__: object) -> Iterator[Record]:
        for number in range(1, 10**9):
            read.append(number)
            yield Record({**GOOD, "prompt": f"Question {number}?"}, number, f"rows.jsonl:{number}")

    monkeypatch.setattr(sources, "source_records", endless)
    assert len(first_rows(SourceSettings(path="rows.jsonl"), 3)) == 3
    assert len(read) <= 1 + FIRST_ROWS


def test_a_row_that_makes_no_pair_says_so(preview: Any) -> None:
    votes = [
        {
            "model_a": "a",
            "model_b": "b",
            "winner": winner,
            "prompt": "q",
            "response_a": "x",
            "response_b": "y",
        }
        for winner in ("tie", "model_a", "model_b")
    ]
    tie, *pairs = as_json(preview(votes, "--json"))
    assert "rows.jsonl:1: makes no pair (" in tie["error"]
    assert [row["pair"]["chosen"][0]["content"] for row in pairs] == ["x", "y"]


def test_a_published_layout_is_shown_as_its_pairs(preview: Any) -> None:
    rows = [
        {
            "instruction": f"Question {n}?",
            "completions": [
                {"response": "Yes.", "overall_score": 1.0},
                {"response": "No.", "overall_score": 4.0},
            ],
        }
        for n in range(5)
    ]
    shown = as_json(preview(rows, "--json"))
    assert [row["location"] for row in shown] == ["rows:1", "rows:2", "rows:3"]
    assert [row["pair"]["chosen"][0]["content"] for row in shown] == ["No."] * 3


def test_a_source_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        first_rows(SourceSettings(path=str(tmp_path / "absent.jsonl")), 3)


@pytest.mark.parametrize("kind", ["pairs", "rankings"])
def test_a_source_without_rows_is_an_error(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[]")
    with pytest.raises(
        DataError, match=r"rows\.json: (holds no rows|gives no pair \(rankings\)); it"
    ):
        first_rows(SourceSettings(path=str(path), kind=kind), 3)


def test_rows_of_which_none_makes_a_pair_are_a_mistake(preview: Any) -> None:
    rows = [{**GOOD, "chosen": ""}, {**GOOD, "rejected": ""}, {**GOOD, "prompt": ""}]
    for arguments in ((), ("--json",)):
        assert preview(rows, *arguments, code=2).count("error") == 3
        preview([*rows[:2], GOOD], *arguments)
    assert (
        preview([GOOD] * 2, max_tokens=16, code=2).count("of data.max_tokens: 16; raise it\n") == 2
    )
