"""Tokens, templates and truncation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dpo_core.encoding.encode import encode, tokenizer_fingerprint, uses_chat_template
from dpo_core.encoding.rules import EncodingRules
from dpo_core.encoding.token_ids import token_ids
from dpo_core.encoding.token_table import EncodedPair, TokenTable, encoding_report
from dpo_core.errors import DataError
from dpo_core.preferences.pairs import make_pair
from dpo_core.settings import DataSettings, SourceSettings
from tests.support.toys import CHAT_TEMPLATE, END_OF_TURN, text_pair, toy_pairs, toy_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return toy_tokenizer()


# --- tokens -----------------------------------------------------------------------------------


def test_chat_pairs_decode_to_what_the_template_renders(tokenizer: Any) -> None:
    pair = make_pair(
        ({"role": "user", "content": "Is it safe?"},),
        ({"role": "assistant", "content": "Ask first."},),
        ({"role": "assistant", "content": "Yes."},),
    )
    (encoded,) = encode([pair], tokenizer, 512)
    assert encoded.id == pair.id
    assert tokenizer.decode(encoded.prompt) == (
        "<|im_start|>system\nYou answer questions at a pharmacy<|im_end|>\n"
        "<|im_start|>user\nIs it safe?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert tokenizer.decode(encoded.chosen) == "Ask first.<|im_end|>\n"
    assert tokenizer.decode(encoded.rejected) == "Yes.<|im_end|>\n"
    assert not encoded.merged


def test_every_answer_holds_its_end_of_turn_once(tokenizer: Any) -> None:
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    for pair in encode(toy_pairs(16), tokenizer, 512):
        assert pair.chosen.count(end) == pair.rejected.count(end) == 1
        assert end in pair.prompt  # of the question, not of an answer


def test_the_whole_conversation_is_the_prompt(tokenizer: Any) -> None:
    turns = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "May I?"},
        {"role": "assistant", "content": "What?"},
        {"role": "user", "content": "Drive."},
    )
    pair = make_pair(
        turns,
        ({"role": "assistant", "content": "No."},),
        ({"role": "assistant", "content": "Sure."},),
    )
    (encoded,) = encode([pair], tokenizer, 512)
    text = tokenizer.decode(encoded.prompt)
    assert [t["content"] in text for t in turns] == [True] * 4
    assert "pharmacy" not in text  # its own system turn replaces the template's


def test_a_common_start_belongs_to_the_answers(tokenizer: Any) -> None:
    pair = make_pair(
        ({"role": "user", "content": "Hi"},),
        ({"role": "assistant", "content": "Please ask first."},),
        ({"role": "assistant", "content": "Please do not."},),
    )
    (encoded,) = encode([pair], tokenizer, 512)
    assert encoded.chosen[:2] == encoded.rejected[:2]
    assert tokenizer.decode(encoded.prompt).endswith("assistant\n")


def test_text_pairs_are_the_plain_text_and_an_end(tokenizer: Any) -> None:
    (encoded,) = encode([text_pair("Question:", " Yes.", " No.")], tokenizer, 512)
    assert tokenizer.decode(encoded.prompt) == "Question:"
    assert tokenizer.decode(encoded.chosen) == f" Yes.{END_OF_TURN}"
    assert tokenizer.decode(encoded.rejected) == f" No.{END_OF_TURN}"


def test_an_end_that_the_text_brings_along_is_not_doubled(tokenizer: Any) -> None:
    with_end = text_pair("Question:", f" Yes.{END_OF_TURN}", f" No.{END_OF_TURN}")
    without = text_pair("Question:", " Yes.", " No.")
    (left,), (right,) = (encode([p], tokenizer, 512) for p in (with_end, without))
    assert (left.prompt, left.chosen, left.rejected) == (right.prompt, right.chosen, right.rejected)


def test_a_merge_across_the_border_moves_it_and_is_counted(tokenizer: Any) -> None:
    # "pharma" and "cist" end in other tokens than "pharmacist" holds.
    (encoded,) = encode([text_pair("Ask the pharma", "cist.", "!")], tokenizer, 512)
    assert encoded.merged
    assert tokenizer.decode(encoded.prompt + encoded.chosen) == f"Ask the pharmacist.{END_OF_TURN}"
    assert tokenizer.decode(encoded.prompt + encoded.rejected) == f"Ask the pharma!{END_OF_TURN}"
    assert encoding_report([encoded]).merged == 1


@pytest.mark.parametrize("column", ["tools", "template_kwargs"])
def test_a_text_pair_with_tools_is_no_pair(tokenizer: Any, column: str) -> None:
    value = {"tools": ({"name": "stock"},), "template_kwargs": {"thinking": False}}[column]
    pair = replace(text_pair("Question:", " Yes.", " No."), **{column: value})
    with pytest.raises(
        DataError, match=r"data:1: has (tools|chat_template_kwargs), which only a chat"
    ):
        list(encode([pair], tokenizer, 512))
    good = text_pair("Another question:", " Maybe.", " Never.")
    (after,) = encode([pair, good], tokenizer, 512, on_refused=lambda _: None)
    assert [after] == list(encode([good], tokenizer, 512)), "it takes no other pair's tokens"


def test_weight_and_margin_go_with_the_tokens(tokenizer: Any) -> None:
    plain, weighted = toy_pairs(1)[0], replace(toy_pairs(1)[0], weight=2.5, margin=-0.5)
    table = TokenTable.of(list(encode([plain, weighted], tokenizer, 512)))
    assert [(pair.weight, pair.margin) for pair in table] == [(1.0, 0.0), (2.5, -0.5)]


def test_settings_of_a_row_come_before_those_of_its_source_and_of_all() -> None:
    rules = EncodingRules(
        template_kwargs={"a": 1, "b": 1, "c": 1}, source_kwargs={"shop": {"b": 2, "c": 2}}
    )
    assert rules.kwargs_for("shop", {"c": 3}) == {"a": 1, "b": 2, "c": 3}
    template = "{{ a }}{{ b }}{{ c }}" + CHAT_TEMPLATE
    pair = replace(toy_pairs(1)[0], source="shop", template_kwargs={"c": 3})
    tokenizer = toy_tokenizer(template)
    (encoded,) = encode([pair], tokenizer, 512, rules)
    assert tokenizer.decode(encoded.prompt).startswith("123<|im_start|>")


def test_the_rules_of_a_sweep_are_those_of_its_settings() -> None:
    data = DataSettings(
        sources=[
            SourceSettings(path="a.jsonl", chat_template_kwargs={"thinking": False}),
            SourceSettings(path="b.jsonl"),
        ],
        system="fold",
        chat_template_kwargs={"thinking": True},
        min_prompt_tokens=64,
    )
    rules = EncodingRules.of(data)
    assert (rules.fold_system, rules.min_prompt_tokens) == (True, 64)
    assert rules.kwargs_for("a", {}) == {"thinking": False}
    assert rules.kwargs_for("b", {}) == {"thinking": True}
    assert rules.where(replace(toy_pairs(1)[0], source="a", line=4)) == "a.jsonl:4"
    assert EncodingRules().least_question(1024) == 32
    assert EncodingRules().least_question(64) == 16


def test_a_batch_gives_what_single_calls_of_the_tokenizer_give(tokenizer: Any) -> None:
    texts = ["May I?", "", "Say <|im_end|> now.", "ä\n\n  é"]
    alone = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    tokenizer("x", split_special_tokens=True)  # which the library remembers
    assert token_ids(texts, tokenizer, add_special_tokens=False) == alone


def test_a_tokenizer_with_a_call_of_its_own_is_called() -> None:
    tokenizer = toy_tokenizer()

    class Own(type(tokenizer)):  # type: ignore[misc]
        def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
            return {"input_ids": [[len(text)] for text in texts]}

    tokenizer.__class__ = Own
    assert token_ids(["ab", "c"], tokenizer, add_special_tokens=False) == [[2], [1]]


def test_text_needs_a_tokenizer_that_can_end_it() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="no end-of-sequence token"):
        list(encode([text_pair("Question:", " Yes.", " No.")], tokenizer, 512))


def test_chat_without_a_template_is_refused() -> None:
    with pytest.raises(DataError, match="no chat template; use a chat model, or plain strings"):
        list(encode(toy_pairs(1), toy_tokenizer(chat_template=None), 512))


def test_an_empty_side_is_named_with_its_line(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="data:1: the prompt has no tokens"):
        list(encode([text_pair("", "Yes", "No")], tokenizer, 512))


@pytest.mark.parametrize(
    ("format", "template", "chat"),
    [
        ("auto", CHAT_TEMPLATE, True),
        ("auto", None, False),
        ("chat", CHAT_TEMPLATE, True),
        ("text", CHAT_TEMPLATE, False),
        ("text", None, False),
    ],
)
def test_which_form_strings_take(format: str, template: str | None, chat: bool) -> None:
    assert uses_chat_template(toy_tokenizer(template), format) is chat


def test_chat_form_without_a_template_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.format: chat needs .* or data\.format: text"):
        uses_chat_template(toy_tokenizer(None), "chat")


# --- reports and fingerprints -----------------------------------------------------------------


def test_report_counts_by_hand() -> None:
    encoded = [
        EncodedPair("a", (1, 2, 3), (4, 5), (6,), cut_prompt=2, cut_turns=1, cut_question=1),
        EncodedPair("b", (1,), (4,), (4,), cut_answers=7, merged=True),
    ]
    counts = encoding_report(encoded).as_dict()
    assert counts == {
        "pairs": 2,
        "prompts_cut": 1,
        "answers_cut": 1,
        "indistinct": 1,
        "merged": 1,
        "with_special_words": 0,
        "prompt_tokens": 4,
        "chosen_tokens": 3,
        "rejected_tokens": 2,
        "turns_dropped": 1,
        "questions_cut": 1,
        "mean_response_tokens": 1.25,  # (2 + 1 + 1 + 1) / 4
    }


def test_report_of_nothing_divides_by_nothing() -> None:
    assert encoding_report([]).mean_response_tokens == 0.0


def test_equal_tokenizers_have_equal_fingerprints() -> None:
    assert tokenizer_fingerprint(toy_tokenizer()) == tokenizer_fingerprint(toy_tokenizer())


def test_fingerprint_survives_saving(tokenizer: Any, tmp_path: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer_fingerprint(loaded) == tokenizer_fingerprint(tokenizer)


def test_fingerprint_is_the_same_before_and_after_use() -> None:
    used = toy_tokenizer()
    used.backend_tokenizer.enable_truncation(5)
    used.backend_tokenizer.enable_padding()
    before = tokenizer_fingerprint(used)
    used("a call switches truncation and padding off")
    assert tokenizer_fingerprint(used) == before == tokenizer_fingerprint(toy_tokenizer())


def test_fingerprint_moves_with_template_vocabulary_and_special_tokens(tokenizer: Any) -> None:
    template = toy_tokenizer(CHAT_TEMPLATE.replace("pharmacy", "bakery"))
    vocabulary = toy_tokenizer()
    vocabulary.add_tokens(["paracetamol"])
    special = toy_tokenizer()
    special.eos_token = "<|endoftext|>"
    all_of_them = [tokenizer, template, vocabulary, special, toy_tokenizer(None)]
    assert len({tokenizer_fingerprint(t) for t in all_of_them}) == 5
