"""A layout is recognized once per source; rows that do not fit and unknown ones get an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences import LoadedData, as_chat, load_data
from dpo_core.settings import SourceSettings
from tests.support.preference_rows import write_jsonl

ORCA = {"question": "Why?", "chosen": "Because.", "rejected": "No."}


def load(folder: Path, rows: list[Any], *, skip: bool = False, **settings: Any) -> LoadedData:
    source = SourceSettings(path=str(write_jsonl(folder / "rows.jsonl", rows)), **settings)
    return load_data([source], skip_bad_rows=skip)


def error_of(folder: Path, rows: list[Any], **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(folder, rows, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_row_that_does_not_fit_the_first_ones_is_a_bad_row(tmp_path: Path) -> None:
    rows = [ORCA, ORCA, {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}]
    assert (
        error_of(tmp_path, rows)
        .partition("; 1 bad row")[0]
        .endswith(
            "rows.jsonl:3: no value at `question`, which is prompt (read as Orca pairs, as the first "
            "rows are; columns of this row: prompt, chosen, rejected); correct the row"
        )
    )
    assert len(load(tmp_path, rows, skip=True).skipped) == 1


def test_a_winner_of_an_unknown_name_is_a_bad_row(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "response_0": "a", "response_1": "b", "better_response_id": 1}
    rows = [row, row, row | {"better_response_id": 7}]
    assert "rows.jsonl:3: better_response_id 7 names none of a, b (read as PKU" in error_of(
        tmp_path, rows
    )


def test_a_layout_may_be_given_by_name(tmp_path: Path) -> None:
    rows = [{"prompt": "Why?", **ORCA}]
    assert load(tmp_path, rows).columns["rows"].layout == "pairs"
    assert load(tmp_path, rows, layout="orca").columns["rows"].used["question"] == "prompt"
    assert "no value at `messages`" in error_of(tmp_path, rows, layout="messages_and_answers")


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2]}], "rankings"),
        ([{"prompt": "p", "response": "a", "label": "safe"}], "red_team"),
        ([{"prompt": "p", "golden": "a"}], "golden"),
    ],
)
def test_rows_of_our_other_kinds_are_told_their_kind(
    tmp_path: Path, rows: list[Any], kind: str
) -> None:
    assert f"give the source under data.sources with `kind: {kind}`" in error_of(tmp_path, rows)


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (
            {"problem": "p", "accepted": "a", "refused": "b"},
            "{prompt: problem, chosen: accepted, rejected: refused}",
        ),
        (
            {"user_query": "p", "model_a_reply": "a", "model_b_reply": "b", "vote": "left"},
            "{prompt: user_query, a: model_a_reply, b: model_b_reply, winner: {column: vote, a: left, "
            "b: right}}",
        ),
        (
            {"instruction": "p", "input": "q", "accepted": "a", "rejected": "b"},
            "{prompt: [instruction, input], chosen: accepted, rejected: rejected}",
        ),
        (
            {"orig_instruction": "p", "response_A": "a", "response_B": "b", "preference": "B"},
            "{prompt: orig_instruction, a: response_A, b: response_B, winner: {column: preference, "
            "a: A, b: B}}",
        ),
        (
            {"query": "p", "candidates": ["a", "b"], "rewards": [1, 2]},
            "{prompt: query, responses: candidates, scores: rewards}",
        ),
        (
            {"task": "p", "reply": "a", "thumbs_up": True},
            "{prompt: task, response: reply, label: thumbs_up}",
        ),
    ],
)
def test_an_unknown_layout_is_answered_with_columns(
    tmp_path: Path, row: dict[str, Any], columns: str
) -> None:
    message = error_of(tmp_path, [row])
    assert f"are of no known layout; data.columns: {columns} would read them" in message


def test_the_suggested_columns_read_the_rows(tmp_path: Path) -> None:
    row = {"problem": "Why?", "accepted": "Because.", "refused": "No."}
    columns = {"prompt": "problem", "chosen": "accepted", "rejected": "refused"}
    assert load(tmp_path, [row], columns=columns).pairs[0].prompt == "Why?"


def test_a_layout_that_nothing_reads_is_compared_with_the_known_ones(tmp_path: Path) -> None:
    message = error_of(tmp_path, [{"history": "p", "human_ref_A": "a", "domain": "d"}])
    assert "they look most like SHP votes (stanfordnlp/SHP, SHP-2), which has history" in message


@pytest.mark.parametrize(
    ("rows", "is_sft"),
    [
        ([{"instruction": "a", "output": "b"}], True),
        ([{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}], True),
        (
            [
                {
                    "messages": [
                        {"role": "user", "content": "a"},
                        {"role": "assistant", "content": "b"},
                    ]
                }
            ],
            True,
        ),
        ([{"messages": [{"role": "user", "content": "a"}]}], False),
        ([{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "d"}], False),
        ([{"instruction": "a", "output": "b", "rejected_output": "c"}], False),
        ([{"prompt": "a", "response_x": "b", "response_y": "c"}], False),
        ([{"text": "a"}], False),
    ],
)
def test_sft_is_said_of_one_answer_a_prompt_alone(
    tmp_path: Path, rows: list[Any], is_sft: bool
) -> None:
    assert ("data for SFT" in error_of(tmp_path, rows)) == is_sft


def test_a_forgotten_prompt_is_not_taken_from_answers_that_begin_alike(tmp_path: Path) -> None:
    rows = [
        {"problem": f"{n} + 1?", "chosen": f"It is {n + 1}", "rejected": "It is 0"}
        for n in range(9)
    ]
    assert "prompt: problem, chosen: chosen, rejected: rejected" in error_of(tmp_path, rows)
    alone = [{"chosen": row["chosen"], "rejected": row["rejected"]} for row in rows]
    assert "missing column `prompt` (found: chosen, rejected)" in error_of(tmp_path, alone)


def test_conversations_that_part_early_make_no_pair(tmp_path: Path) -> None:
    def talk(first: str, last: str) -> list[dict[str, str]]:
        texts = (("user", "Hi"), ("assistant", first), ("user", "And?"), ("assistant", last))
        return [{"role": role, "content": text} for role, text in texts]

    vote = {"winner": "model_a", "model_a": "x", "model_b": "y"}
    same = {**vote, "conversation_a": talk("Yes?", "Good."), "conversation_b": talk("Yes?", "Bad.")}
    other = {**vote, "conversation_a": talk("Yes?", "Good."), "conversation_b": talk("No.", "Bad.")}
    loaded = load(tmp_path, [same, other])
    assert [len(pair.prompt) for pair in loaded.pairs] == [3]
    assert loaded.skipped == ()


def test_a_misspelled_column_is_an_error_even_if_it_is_optional(tmp_path: Path) -> None:
    columns = {"prompt": "question", "chosen": "chosen", "rejected": "rejected", "system": "sytem"}
    assert (
        "data.columns: system: no row has a column 'sytem' (columns: chosen, question"
        in error_of(tmp_path, [ORCA], columns=columns)
    )


def test_values_are_constants_joined_texts_and_list_positions(tmp_path: Path) -> None:
    rows = [
        {
            "title": "Why",
            "body": "is it so?",
            "replies": [{"t": "Because."}, {"t": "No."}],
            "v": "r",
        }
    ]
    columns = {
        "prompt": ["title", "body"],
        "system": {"constant": "Be short."},
        "a": "replies[0].t",
        "b": "replies[1].t",
        "winner": {"column": "v", "a": "l", "b": "r", "tie": "none"},
    }
    pair = as_chat(load(tmp_path, rows, columns=columns).pairs[0])
    assert [message["content"] for message in pair.prompt] == ["Be short.", "Why\nis it so?"]
    assert pair.chosen[0]["content"] == "No."


def test_a_dialogue_prompt_that_is_none_is_a_bad_row(tmp_path: Path) -> None:
    row = {"prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": " Because.", "rejected": " No."}
    rows = [row, row, row | {"prompt": "Why?"}]
    assert "rows.jsonl:3: prompt 'Why?' is no dialogue of" in error_of(tmp_path, rows)
