"""What makes two texts the same, and what does not."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.preferences.messages import assistant, user
from dpo_core.preferences.normalization import fold, normalize_text, normalize_turns


@pytest.mark.parametrize(
    "spelling",
    [
        "which dose is safe",
        "Which dose is safe?\n",
        "  WHICH dose\u00a0is\tsafe ?",
        "Which dose is safe?!",
        "\uff37hich dose is safe\uff1f",
        "Which dose is safe...",
        "Which dose is safe\u2026",
    ],
)
def test_spellings_of_one_text(spelling: str) -> None:
    assert normalize_text(spelling) == "which dose is safe"


def test_composed_and_decomposed_letters_are_the_same() -> None:
    assert normalize_text(unicodedata.normalize("NFD", "Fünf Röhren.")) == "fünf röhren"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C#", "C"),
        ("5 %", "5"),
        ("a - b", "a b"),
        ("-5", "5"),
        ("x != y", "x = y"),
        ("f(x)", "f(x"),
        ("No, thanks", "No thanks"),
        ("?", "!"),
    ],
)
def test_what_changes_the_meaning_stays(one: str, other: str) -> None:
    assert normalize_text(one) != normalize_text(other)


@pytest.mark.parametrize("text", ["", " ", "?!", "。"])
def test_marks_alone_are_kept(text: str) -> None:
    assert normalize_text(text) == text.strip()


@given(st.text())
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalize_text(text)
    assert normalize_text(once) == once
    assert fold(fold(text)) == fold(text)


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_takes_a_short_way_to_the_same_text(text: str) -> None:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    assert fold(text) == " ".join(folded.split())


def test_roles_and_calls_of_tools_tell_messages_apart() -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "look_up"}}]}
    texts = [
        normalize_turns(turns)
        for turns in ((user("yes"),), (assistant("yes"),), (call,), (user("yes"), user("yes")))
    ]
    assert len(set(texts)) == 4
    assert normalize_turns((user("Yes."),)) == texts[0]
