"""Findings about what the chat template did, with shares, examples and what was lost."""

from __future__ import annotations

from typing import Any

from dpo_core.audit.pair_checks import audit
from dpo_core.encoding.encode import encode
from dpo_core.encoding.rules import EncodingRules
from dpo_core.preferences.messages import assistant, system, user
from dpo_core.preferences.pairs import make_pair
from tests.support import chat_templates
from tests.support.toys import toy_tokenizer


def findings(template: str, rules: EncodingRules | None = None, max_tokens: int = 512) -> Any:
    """Return the findings of four pairs by code; every second pair has a system text."""
    pairs = [
        make_pair(
            (*([system("Be brief.")] if n % 2 else []), user(f"Question {n}?")),
            (assistant(f"Ask first, {n}."),),
            (assistant("Yes."),),
            line=n,
        )
        for n in range(1, 5)
    ]
    tokens = list(encode(pairs, toy_tokenizer(template), max_tokens, rules or EncodingRules()))
    return {f.code: f for f in audit({"train": pairs}, {"train": tokens}, max_tokens)}


def test_what_a_template_drops_is_severe_with_share_and_example() -> None:
    without_system = chat_templates.PLAIN.replace(
        "in messages", "in messages if m['role'] != 'system'", 1
    )
    finding = findings(without_system)["dropped_by_template"]
    assert (finding.severity, finding.number, finding.is_share) == ("severe", 0.5, True)
    assert finding.message.endswith("(system text in 2)")
    assert finding.places == (
        "data:1 (system text 'Be brief.')",
        "data:3 (system text 'Be brief.')",
    )


def test_what_a_template_moves_is_severe_and_merged_pairs_are_shown() -> None:
    found = findings(chat_templates.MOVES_SYSTEM)
    moved = found["moved_by_template"]
    assert (moved.severity, moved.number) == ("severe", 0.5)
    assert moved.places[0] == "data:1 (user text 'Question 1?')"
    assert (found["merged"].severity, found["merged"].number) == ("warning", 0.5)
    folded = findings(chat_templates.MOVES_SYSTEM, EncodingRules(fold_system=True))
    assert not {"moved_by_template", "dropped_by_template", "merged"} & folded.keys()


def test_a_setting_that_is_not_read_is_a_warning() -> None:
    finding = findings(chat_templates.PLAIN, EncodingRules(template_kwargs={"thinking": 1}))[
        "ignored_template_settings"
    ]
    assert (finding.severity, finding.number) == ("warning", 1.0)
    assert finding.message.endswith("(setting in 4)")


def test_a_template_that_writes_everything_has_no_finding() -> None:
    codes = findings(chat_templates.WITH_EVERYTHING).keys()
    assert not {"dropped_by_template", "moved_by_template", "merged"} & codes


def test_cuts_are_counted_by_kind() -> None:
    finding = findings(chat_templates.PLAIN, EncodingRules(min_prompt_tokens=2), max_tokens=42)[
        "cut"
    ]
    assert finding.message.endswith(
        "(the start of the last turn of 2, the ends of answers of 2)"
    ), finding.message
