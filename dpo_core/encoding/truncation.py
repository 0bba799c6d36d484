"""Cutting of pairs that have too many tokens.

What stands before the first turn (the beginning-of-sequence token, system text, tools) is never cut.
The prompt loses whole oldest turns first, then the start of the last turn, because its end asks; then
the answers lose their ends. A shorter prompt is always encoded anew, so it is what the template writes
for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import NamedTuple

from dpo_core.encoding.token_table import EncodedPair, TokenIds
from dpo_core.encoding.turns import last_turn, turn_starts, without_oldest_turns
from dpo_core.errors import DataError
from dpo_core.preferences.messages import Turns, content_of
from dpo_core.preferences.pairs import PreferencePair

# A prompt that must be cut keeps at least this share of `max_tokens`, if the answers differ early.
PROMPT_SHARE = 0.5


Cutting = Generator[PreferencePair, EncodedPair, EncodedPair]
"""Yields pairs that must be encoded to go on, is sent their tokens, and returns the pair as cut."""


class Limits(NamedTuple):
    """Numbers that cutting keeps to."""

    tokens: int
    """The most of prompt and longer answer together."""
    least_question: int
    """How many stay of each message of the last turn."""


def cut_pair(
    pair: PreferencePair,
    whole: EncodedPair,
    limits: Limits,
    token_starts: Callable[[str], Sequence[int]],
) -> Cutting:
    """Cut a pair so that prompt and longer answer together have at most `limits.tokens`.

    Only a pair whose answers share more tokens than the prompt leaves ends up with two equal answers.

    Args:
        pair: Its texts.
        whole: Its tokens, which are too many.
        limits: The budget, and what must stay.
        token_starts: Returns the position of the first character of each token of a text.

    Returns:
        The steps; the last one returns the pair as it is cut.

    Raises:
        DataError: What is never cut leaves no token for the answers.
    """
    max_tokens, least = limits
    room = prompt_room(whole, max_tokens)
    now, without_turns, turns = whole, whole, 0
    if len(whole.prompt) > room:
        if isinstance(pair.prompt, tuple):
            turns = yield from _turns_to_drop(pair, pair.prompt, room)
            if turns:
                pair = replace(pair, prompt=without_oldest_turns(pair.prompt, turns))
                now = without_turns = yield pair
        if len(now.prompt) > room:
            now = yield from _shorten_last_turn(pair, now, room, least, token_starts)
    if len(now.prompt) > max_tokens - bool(now.chosen):
        raise DataError(
            f"what is never cut of the prompt (system text, tools, "
            f"{least} tokens of each message of the last turn) has {len(now.prompt)} tokens, "
            f"of data.max_tokens: {max_tokens}; raise it"
        )
    cut = replace(
        now,
        cut_turns=turns,
        cut_question=len(without_turns.prompt) - len(now.prompt),
        cut_prompt=len(whole.prompt) - len(now.prompt),
        losses=whole.losses,
    )
    return cut_answers(cut, max_tokens)


def _turns_to_drop(
    pair: PreferencePair, prompt: Turns, room: int
) -> Generator[PreferencePair, EncodedPair, int]:
    """Return the fewest oldest turns without which the prompt fits, or all but the last one."""
    low, high = 1, len(turn_starts(prompt)) - 1
    while low < high:
        middle = (low + high) // 2
        shorter = without_oldest_turns(prompt, middle)
        tried = yield replace(pair, prompt=shorter, chosen=(), rejected=())
        if len(tried.prompt) <= room:
            high = middle
        else:
            low = middle + 1
    return min(low, high)


def _shorten_last_turn(
    pair: PreferencePair,
    encoded: EncodedPair,
    room: int,
    least: int,
    token_starts: Callable[[str], Sequence[int]],
) -> Cutting:
    """Shorten the messages of the last turn at their starts, the longest first, until it fits."""
    for where, text in _last_texts(pair.prompt):
        starts, removed = token_starts(text), 0
        while len(encoded.prompt) > room and removed < len(starts) - least:
            removed = min(removed + len(encoded.prompt) - room, len(starts) - least)
            before = len(encoded.prompt)
            pair = replace(pair, prompt=_with_text(pair.prompt, where, text[starts[removed] :]))
            encoded = yield pair
            if len(encoded.prompt) >= before:
                break  # the template does not show this text
    return encoded


def _last_texts(prompt: Turns | str) -> list[tuple[int, str]]:
    """Return index and text of each message of the last turn, the longest first."""
    if isinstance(prompt, str):
        return [(0, prompt)]
    texts = [(i, content_of(prompt[i])) for i in last_turn(prompt)]
    return sorted(texts, key=lambda each: -len(each[1]))


def _with_text(prompt: Turns | str, where: int, text: str) -> Turns | str:
    if isinstance(prompt, str):
        return text
    return (*prompt[:where], {**prompt[where], "content": text}, *prompt[where + 1 :])


def prompt_room(pair: EncodedPair, max_tokens: int) -> int:
    """Return to how many tokens a prompt must be cut.

    It is what the longer answer leaves, or half of the budget; less where the answers share so many
    tokens that the first one in which they differ would not stay.
    """
    longest = max(len(pair.chosen), len(pair.rejected))
    differing = min(common_prefix(pair.chosen, pair.rejected) + 1, longest)
    room = max(max_tokens - longest, int(max_tokens * PROMPT_SHARE))
    return max(1, min(room, max_tokens - differing))


def cut_answers(pair: EncodedPair, max_tokens: int) -> EncodedPair:
    """Return the pair with answers that lose their ends beyond what the prompt leaves of `max_tokens`.

    At least one token of each answer stays.
    """
    room = max(1, max_tokens - len(pair.prompt))
    chosen, rejected = pair.chosen[:room], pair.rejected[:room]
    cut_chosen = len(pair.chosen) - len(chosen)
    return replace(
        pair,
        chosen=chosen,
        rejected=rejected,
        cut_chosen=cut_chosen,
        cut_answers=cut_chosen + len(pair.rejected) - len(rejected),
    )


def common_prefix(left: TokenIds, right: TokenIds) -> int:
    """Return how many tokens both lists begin with."""
    length = min(len(left), len(right))
    if left[:length] == right[:length]:  # as nearly always; far faster than one by one
        return length
    return next((i for i in range(length) if left[i] != right[i]), length)
