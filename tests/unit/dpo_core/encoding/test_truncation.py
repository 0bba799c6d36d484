"""What a pair that is too long loses, in which order, and what it never loses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.encoding.encode import encode
from dpo_core.encoding.pair_encoder import PairEncoder
from dpo_core.encoding.rules import EncodingRules
from dpo_core.encoding.token_table import EncodedPair, encoding_report
from dpo_core.encoding.truncation import cut_answers, prompt_room
from dpo_core.errors import DataError
from dpo_core.preferences.messages import assistant, system, user
from dpo_core.preferences.pairs import PreferencePair, make_pair
from tests.support.toys import text_pair, toy_pairs, toy_tokenizer

TOKENIZER = toy_tokenizer()
LONG = " ".join(f"word{n}" for n in range(60))


def pair_of(prompt: Any, chosen: Any, rejected: Any) -> EncodedPair:
    return EncodedPair("p", tuple(prompt), tuple(chosen), tuple(rejected))


def cut(pair: PreferencePair, max_tokens: int, least: int | None = None) -> EncodedPair:
    (encoded,) = encode([pair], TOKENIZER, max_tokens, EncodingRules(min_prompt_tokens=least))
    return encoded


def dialogue(*questions: str, before: str = "Be brief.") -> PreferencePair:
    """A pair whose prompt has a system text and one turn a question."""
    turns = [system(before)]
    for question in questions[:-1]:
        turns += [user(question), assistant(f"Answer to {question}")]
    prompt = (*turns, user(questions[-1]))
    return make_pair(prompt, (assistant("No, ask first."),), (assistant("Yes."),), line=7)


# --- decisions --------------------------------------------------------------------------------


def test_a_prompt_gives_what_the_longer_answer_needs() -> None:
    assert prompt_room(pair_of(range(10), [50] * 4, [60] * 2), 10) == 6


def test_a_prompt_keeps_half_of_the_budget() -> None:
    assert prompt_room(pair_of(range(10), range(50, 59), [60] * 2), 10) == 5


def test_a_late_difference_costs_the_prompt_more() -> None:
    # The answers differ in their 8th token: 8 must stay, so 2 remain for the prompt.
    assert prompt_room(pair_of(range(10), [50] * 7 + [1] * 3, [50] * 7 + [2] * 3), 10) == 2


def test_answers_lose_their_ends() -> None:
    shorter = cut_answers(pair_of(range(5), range(50, 59), [60] * 2), 10)
    assert shorter.chosen == (50, 51, 52, 53, 54)
    assert shorter.rejected == (60, 60)
    assert (shorter.cut_answers, shorter.cut_chosen) == (4, 4)


# --- chat pairs -------------------------------------------------------------------------------


def test_whole_oldest_turns_go_first() -> None:
    pair = dialogue("first question?", "second question?", "third question?")
    whole = cut(pair, 512)
    budget = len(whole.prompt) + len(whole.chosen) - 1
    shorter = cut(pair, budget)
    assert shorter.prompt == cut(dialogue("second question?", "third question?"), 512).prompt
    assert (shorter.cut_turns, shorter.cut_question, shorter.cut_answers) == (1, 0, 0)
    assert shorter.cut_prompt == len(whole.prompt) - len(shorter.prompt)
    assert shorter.chosen == whole.chosen


def test_no_more_turns_go_than_must() -> None:
    pair = dialogue(*(f"question {n}?" for n in range(9)))
    for turns in range(9):
        kept = dialogue(*(f"question {n}?" for n in range(turns, 9)))
        whole = cut(kept, 512)
        shorter = cut(pair, len(whole.prompt) + len(whole.chosen))
        assert (shorter.cut_turns, shorter.prompt) == (turns, whole.prompt)


def test_system_text_and_the_start_of_the_template_stay_and_the_question_keeps_its_end() -> None:
    pair = dialogue("old question?", f"{LONG} so, may I?", before="Answer as a pirate.")
    shorter = cut(pair, 100)
    text = TOKENIZER.decode(shorter.prompt)
    assert text.startswith("<|im_start|>system\nAnswer as a pirate.<|im_end|>\n<|im_start|>user\n")
    assert text.endswith(" so, may I?<|im_end|>\n<|im_start|>assistant\n")
    assert "old question?" not in text
    assert shorter.cut_turns == 1
    assert shorter.cut_question > 0
    assert shorter.longest_sequence <= 100


def test_a_shorter_question_is_what_the_template_writes_for_it() -> None:
    shorter = cut(dialogue(LONG), 100)
    text = TOKENIZER.decode(shorter.prompt)
    question = text.partition("user\n")[2].partition("<|im_end|>")[0]
    assert LONG.endswith(question)
    assert shorter.prompt == cut(dialogue(question), 512).prompt


def test_the_question_keeps_its_least_tokens_and_answers_lose_the_rest() -> None:
    long_answers = replace(
        dialogue(LONG), chosen=(assistant(LONG),), rejected=(assistant(f"No {LONG}"),)
    )
    for least in (5, 40):
        shorter = cut(long_answers, 110, least)
        question = (
            TOKENIZER.decode(shorter.prompt).partition("user\n")[2].partition("<|im_end|>")[0]
        )
        tokens = len(TOKENIZER(question, add_special_tokens=False)["input_ids"])
        assert tokens >= least
        assert shorter.cut_answers > shorter.cut_chosen > 0
        assert shorter.longest_sequence == 110


def test_answers_that_differ_late_never_leave_a_question_of_one_token() -> None:
    pair = replace(
        dialogue(LONG), chosen=(assistant(f"{LONG} yes"),), rejected=(assistant(f"{LONG} no"),)
    )
    shorter = cut(pair, 120, 30)
    question = TOKENIZER.decode(shorter.prompt).partition("user\n")[2].partition("<|im_end|>")[0]
    assert len(TOKENIZER(question, add_special_tokens=False)["input_ids"]) >= 30
    assert not shorter.distinct


def test_the_longest_message_of_the_last_turn_is_shortened() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}
    prompt = (user("May I?"), call, {"role": "tool", "content": LONG})
    pair = make_pair(prompt, (assistant("No."),), (assistant("Yes."),))
    shorter = cut(pair, 100)
    text = TOKENIZER.decode(shorter.prompt)
    assert "user\nMay I?<|im_end|>" in text
    assert "word59<|im_end|>" in text
    assert "word0 " not in text


def test_a_row_whose_uncuttable_part_is_too_long_is_named() -> None:
    with pytest.raises(
        DataError, match=r"data:7: what is never cut .* data\.max_tokens: 64; raise it"
    ):
        cut(dialogue("May I?", before=LONG), 64)


def test_such_a_row_can_be_left_out() -> None:
    errors: list[DataError] = []
    good = dialogue("May I?")
    encoded = list(
        encode([dialogue("May I?", before=LONG), good], TOKENIZER, 64, on_refused=errors.append)
    )
    assert [pair.id for pair in encoded] == [good.id]
    assert len(errors) == 1


# --- text pairs -------------------------------------------------------------------------------


def test_a_text_keeps_the_beginning_that_the_tokenizer_adds() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = toy_tokenizer()
    begin = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.bos_token_id)]
    )
    (shorter,) = encode([text_pair(f"{LONG} So?", " No.", " Yes.")], tokenizer, 64)
    assert shorter.prompt[0] == tokenizer.bos_token_id
    assert tokenizer.decode(shorter.prompt[1:]).endswith("word59 So?")
    assert shorter.cut_question == shorter.cut_prompt > 0


# --- rules for all pairs ----------------------------------------------------------------------

words = st.lists(
    st.sampled_from(["may", "I", "drive", "ibuprofen?", "now"]), min_size=1, max_size=40
)
texts = words.map(" ".join)


@settings(deadline=None, max_examples=60)
@given(st.lists(texts, min_size=1, max_size=4), texts, texts, st.integers(64, 128))
def test_truncation_rules(questions: list[str], chosen: str, rejected: str, limit: int) -> None:
    pair = replace(
        dialogue(*questions), chosen=(assistant(chosen),), rejected=(assistant(f"No {rejected}"),)
    )
    whole, shorter = cut(pair, 4096), cut(pair, limit)
    assert shorter.longest_sequence <= limit
    start = len(TOKENIZER("<|im_start|>system\nBe brief.<|im_end|>\n")["input_ids"])
    assert shorter.prompt[:start] == whole.prompt[:start]
    assert whole.chosen[: len(shorter.chosen)] == shorter.chosen != ()
    assert whole.rejected[: len(shorter.rejected)] == shorter.rejected != ()
    assert shorter.cut_prompt == len(whole.prompt) - len(shorter.prompt)
    assert shorter.cut_answers == sum(
        len(getattr(whole, side)) - len(getattr(shorter, side)) for side in ("chosen", "rejected")
    )
    if whole.longest_sequence <= limit:
        assert shorter == whole


def test_every_pair_is_cut_and_none_dropped() -> None:
    pairs = toy_pairs(16)
    encoded = list(encode(pairs, TOKENIZER, 72))
    assert [p.id for p in encoded] == [p.id for p in pairs]
    assert all(p.longest_sequence <= 72 for p in encoded)
    assert all(TOKENIZER.decode(p.prompt).endswith("assistant\n") for p in encoded)
    assert encoding_report(encoded).questions_cut > 0


def test_a_prompt_to_be_answered_is_cut_alike() -> None:
    pair = dialogue("old?", LONG)
    [ids] = PairEncoder(TOKENIZER, 64, EncodingRules()).prompt_tokens([pair])
    assert len(ids) <= 64
    assert TOKENIZER.decode(ids).startswith("<|im_start|>system\nBe brief.")


def test_a_tokenizer_without_positions_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = toy_tokenizer()
    monkeypatch.setattr(type(tokenizer), "is_fast", property(lambda _: False))
    (shorter,) = encode([dialogue(LONG)], tokenizer, 100)
    assert shorter.longest_sequence <= 100
    assert tokenizer.decode(shorter.prompt).endswith("word59<|im_end|>\n<|im_start|>assistant\n")
