"""Rows of every kind of source whose texts are already formatted, read as `format` says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences.formatted.rows import messages_of_row
from dpo_core.preferences.messages import assistant, system, user
from dpo_core.preferences.sources import load_data
from dpo_core.settings import DataSettings

CHATML = "<|im_start|>user\nMay I take two?<|im_end|>\n<|im_start|>assistant\n"
DIALOGUE = "\n\nHuman: May I take two?\n\nAssistant:"
QUESTION, NO, YES = [user("May I take two?")], [assistant("No.")], [assistant("Yes.")]
PAIR = {"prompt": QUESTION, "chosen": NO, "rejected": YES}


def read(row: Mapping[str, Any], format: str = "rendered") -> Mapping[str, Any]:
    return messages_of_row(row, format)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("format", "row"),
    [
        ("rendered", {"prompt": CHATML, "chosen": "No.<|im_end|>", "rejected": "Yes.<|im_end|>\n"}),
        ("rendered", {"prompt": CHATML, "chosen": "No.", "rejected": "Yes."}),
        # The prompt ends where the user's turn does.
        (
            "rendered",
            {
                "prompt": "<|im_start|>user\nMay I take two?<|im_end|>\n",
                "chosen": "<|im_start|>assistant\nNo.<|im_end|>",
                "rejected": "<|im_start|>assistant\nYes.<|im_end|>",
            },
        ),
        (
            "rendered",
            {
                "prompt": "<|im_start|>user\nMay I take two?<|im_end|>\n",
                "chosen": "No.",
                "rejected": "Yes.",
            },
        ),
        # The prompt is what both texts begin with, back to the last white space.
        (
            "rendered",
            {
                "prompt": "<|user|>May I take ",
                "chosen": "two?<|end|><|assistant|>No.<|end|>",
                "rejected": "two?<|end|><|assistant|>Yes.<|end|>",
            },
        ),
        ("dialogue", {"prompt": DIALOGUE, "chosen": " No.", "rejected": " Yes.\n"}),
        ("dialogue", {"prompt": DIALOGUE, "chosen": " No.</s>", "rejected": " Yes.</s>"}),
        # Both answers repeat the prompt, which is plain or formatted.
        (
            "rendered",
            {
                "prompt": "May I take two?",
                "chosen": f"{CHATML}No.<|im_end|>\n",
                "rejected": f"{CHATML}Yes.<|im_end|>\n",
            },
        ),
        (
            "rendered",
            {
                "prompt": CHATML,
                "chosen": f"{CHATML}No.<|im_end|>",
                "rejected": f"{CHATML}Yes.<|im_end|>",
            },
        ),
        (
            "dialogue",
            {
                "prompt": "May I take two?",
                "chosen": f"{DIALOGUE} No.",
                "rejected": f"{DIALOGUE} Yes.",
            },
        ),
        # Each answer begins as a text of its own.
        (
            "rendered",
            {
                "prompt": "<s>[INST] May I take two? [/INST]",
                "chosen": "<s> No.</s>",
                "rejected": "<s> Yes.</s>",
            },
        ),
        # Whole messages whose content is formatted.
        (
            "rendered",
            {
                "prompt": [user(CHATML)],
                "chosen": [assistant("No.<|im_end|>")],
                "rejected": [assistant("<|im_start|>assistant\nYes.<|im_end|>")],
            },
        ),
    ],
)
def test_a_formatted_pair_becomes_messages(
    format: str, row: Mapping[str, Any], tmp_path: Path
) -> None:
    assert loaded([row], tmp_path, format=format) == PAIR


@pytest.mark.parametrize("format", ["rendered", "dialogue"])
def test_whole_texts_without_a_prompt_become_messages(format: str, tmp_path: Path) -> None:
    prompt = {"rendered": CHATML, "dialogue": DIALOGUE}[format]
    row = {"chosen": f"{prompt} No.", "rejected": f"{prompt} Yes."}
    assert loaded([row], tmp_path, format=format) == PAIR


def test_the_other_columns_stay() -> None:
    row = {"prompt": CHATML, "chosen": "No.", "rejected": "Yes.", "category": "dose", "weight": 2}
    assert read(row) == {**PAIR, "category": "dose", "weight": 2}


def test_tokens_around_plain_texts_are_removed() -> None:
    row = {"prompt": "<s>Hi", "chosen": "No.</s>", "rejected": "Yes."}
    assert read(row) == {"prompt": "Hi", "chosen": "No.", "rejected": "Yes."}


def test_plain_rows_stay_as_they_are() -> None:
    row = {
        "prompt": "What is <|im_end|>?",
        "chosen": " A token\n",
        "rejected": [assistant("A word")],
    }
    assert read(row) == row
    row = {"chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]}
    assert read(row) == row
    assert read({"prompt": None, "chosen": 3}) == {"prompt": None, "chosen": 3}


def test_a_system_message_comes_first() -> None:
    row = {
        "prompt": f"<|im_start|>system\nBe brief.<|im_end|>\n{CHATML}",
        "chosen": "No.",
        "rejected": "Yes.",
    }
    assert read(row)["prompt"] == [system("Be brief."), *QUESTION]


def loaded(rows: list[Mapping[str, Any]], folder: Path, **settings: Any) -> Mapping[str, Any]:
    """Return the first pair of a source with these rows."""
    path = write(rows, folder)
    [pair, *_] = load_data(DataSettings(path=path, **settings).all_sources).pairs
    return {"prompt": [*pair.prompt], "chosen": [*pair.chosen], "rejected": [*pair.rejected]}


def write(rows: list[Mapping[str, Any]], folder: Path, name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (
            "rankings",
            [{"prompt": CHATML, "responses": ["Yes.<|im_end|>", "No.<|im_end|>"], "ranks": [2, 1]}],
        ),
        (
            "red_team",
            [
                {"prompt": CHATML, "response": "No.<|im_end|>", "label": "safe"},
                {"prompt": CHATML, "response": "Yes.<|im_end|>", "label": "harmful"},
            ],
        ),
        ("golden", [{"prompt": CHATML, "golden": "No.<|im_end|>"}]),
    ],
)
def test_every_kind_of_source_is_read(
    kind: str, rows: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    source = {"path": write(rows, tmp_path), "kind": kind, "format": "rendered"}
    [pair] = load_data(DataSettings(sources=[source]).all_sources).pairs  # type: ignore[list-item]
    assert [*pair.prompt] == QUESTION
    assert [*pair.chosen] == NO
    assert kind == "golden" or [*pair.rejected] == YES


def test_a_source_has_its_own_format_or_that_of_all() -> None:
    data = DataSettings(
        sources=[{"path": "a.jsonl"}, {"path": "b.jsonl", "format": "dialogue"}],  # type: ignore[list-item]
        final_path="c.jsonl",
        format="rendered",
    )
    assert [source.format for source in data.all_sources] == ["rendered", "dialogue"]
    assert data.fixed_splits["final"].format == "rendered"
    assert DataSettings(path="a.jsonl").all_sources[0].format is None


def test_a_format_that_no_row_has_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "Hi", "chosen": "No.", "rejected": "Yes."}]
    with pytest.raises(
        DataError, match=r"none of 1 rows holds text that a chat template has rendered"
    ):
        loaded(rows, tmp_path, format="rendered")
    with pytest.raises(DataError, match=r"none of 1 rows holds a dialogue such as 'Human: "):
        loaded(rows, tmp_path, format="dialogue")


def test_a_row_that_cannot_be_read_is_a_bad_row(tmp_path: Path) -> None:
    good = {"prompt": CHATML, "chosen": "No.", "rejected": "Yes."}
    bad = {**good, "prompt": f"Be brief.{CHATML}"}
    sources = DataSettings(path=write([good, bad], tmp_path), format="rendered").all_sources
    with pytest.raises(DataError, match=r"rows.jsonl:2: 'Be brief.' stands before the first turn"):
        load_data(sources)
    read = load_data(sources, skip_bad_rows=True)
    assert len(read.pairs) == 1
    assert len(read.skipped) == 1
