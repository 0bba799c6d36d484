"""Answers for rows of no known layout: what they look like, and the `data.columns` that would read them.

Tested in tests/unit/dpo_core/preferences/layouts/test_guess.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from dpo_core.columns.mapping import in_yaml
from dpo_core.columns.published import PUBLISHED, PublishedLayout
from dpo_core.preferences.layouts.reading import Row, has_value

_WORDS = {
    "prompt": "prompt question query instruction input problem context messages conversations "
    "conversation history user post title task request",
    "chosen": "chosen accepted accept preferred preferable better best positive pos winner winning "
    "win good correct",
    "rejected": "rejected reject refused dispreferred nonpreferred worse worst negative neg loser "
    "losing lose bad incorrect wrong",
    "winner": "winner choice overall preference preferred label labels better vote verdict",
    "response": "response completion answer output generation reply text",
    "responses": "responses completions answers outputs generations candidates replies",
    "scores": "scores score ratings rating rewards reward",
    "ranks": "ranks rank ranking rankings",
    "label": "label labels tag thumbs feedback",
    "tie": "tie ties tied both neither none equal same draw bad",
    # Columns with these words are about a text of the pair, whatever else their names say.
    "about": "feedback critique explanation explanations rationale reason reasons reasoning "
    "justification criteria criterion rubric reference references score scores rating ratings rank "
    "ranks reward rewards id ids uid uuid hash index length lengths len tokens count source language "
    "lang type description confidence probability logp logps logprob logprobs url meta metadata",
    # So are those with these, unless they name a response too: `chosen_policy`, `model_a_reply`.
    "writer": "model models policy author name annotator judge engine",
}
_SIDES = (("a", "b"), ("1", "2"), ("0", "1"), ("left", "right"))


def answer_for_unknown(rows: Sequence[Row]) -> str:
    """Return what rows of no known layout look like, and what to do, for an error message."""
    columns = [*dict.fromkeys(str(column) for row in rows for column in row)]
    listed = ", ".join(columns) or "none"
    kind = _own_kind(rows)
    if kind:
        return (
            f"columns {listed} are those of kind {kind}; give the source under data.sources with "
            f"`kind: {kind}`"
        )
    if {"chosen", "rejected"} <= set(columns) and not any(_matches(n, "prompt") for n in columns):
        return (
            f"missing column `prompt` (found: {listed}), and chosen and rejected share no beginning "
            "that could be it; add a `prompt` column, or name it with data.columns"
        )
    if set(columns) & {"chosen", "rejected"} and holds_one_answer_a_prompt(rows):
        there = next(name for name in ("chosen", "rejected") if name in columns)
        absent = {"chosen": "rejected", "rejected": "chosen"}[there]
        return (
            f"columns {listed} hold `{there}` and no `{absent}`; DPO compares two answers to a prompt, "
            f"so add `{absent}`, or name it with data.columns"
        )
    columns_guess = guessed_columns(rows)
    if columns_guess:
        return (
            f"columns {listed} are of no known layout; data.columns: {in_yaml(columns_guess)} would "
            "read them, if that is what they mean"
        )
    if holds_one_answer_a_prompt(rows):
        return (
            f"columns {listed} hold one answer per prompt, which is data for SFT (supervised "
            "fine-tuning); DPO needs a rejected answer too: add `chosen` and `rejected`, or use SFT"
        )
    nearest = _nearest(columns)
    likeness = (
        f"they look most like {nearest.title} ({nearest.publisher}), which has "
        f"{', '.join(sorted(_columns_of(nearest)))}; "
        if nearest
        else ""
    )
    return (
        f"columns {listed} are of no known layout; {likeness}a preference pair has `prompt`, `chosen` "
        "and `rejected`, so rename columns or say with data.columns which they are"
    )


def _own_kind(rows: Sequence[Row]) -> str | None:
    """Return the kind of source that rows are of, if it is another than pairs."""
    columns = set(rows[0]) if rows else set()
    if {"prompt", "responses"} <= columns and {"ranks", "scores"} & columns:
        return "rankings"
    if {"prompt", "response", "label"} <= columns and {"safe", "harmful"} & {
        str(row.get("label")) for row in rows
    }:
        return "red_team"
    return "golden" if {"prompt", "golden"} <= columns else None


def guessed_columns(rows: Sequence[Row]) -> dict[str, object] | None:
    """Return a mapping that may read the rows, by the words in the names of their columns, or None."""
    row = rows[0] if rows else {}
    texts = [
        name
        for name, value in row.items()
        if isinstance(value, str | list | Mapping) and _may_be_text(name)
    ]
    prompt = _first(texts, "prompt")
    chosen, rejected = _first(texts, "chosen"), _first(texts, "rejected")
    start: dict[str, object] = {"prompt": _with_other_part(prompt, texts)} if prompt else {}
    if rejected and not chosen:
        if prompt and _is_answered(row[prompt]):
            return {
                "prompt": f"{prompt}[:-1]",
                "chosen": f"{prompt}[-1]",
                "rejected": rejected,
            }
        # The other answer may have a plain name: {question, answer, rejected_answer}.
        chosen = _first([name for name in texts if name not in (prompt, rejected)], "response")
    if chosen and rejected and chosen != prompt != rejected:
        return start | {"chosen": chosen, "rejected": rejected}
    sides = _two_sides(texts)
    winner = _first(
        [name for name in row if name not in texts or isinstance(row[name], str)], "winner"
    )
    if sides and winner and winner not in sides:
        return (
            start
            | dict(zip("ab", sides, strict=True))
            | {"winner": _guessed_winner(winner, rows, sides)}
        )
    responses = next((n for n in texts if _matches(n, "responses") and n != prompt), None)
    for numbers in ("scores", "ranks"):
        column = next((n for n in row if _matches(n, numbers) and n != responses), None)
        is_list = column is not None and isinstance(row[column], list)
        if responses and is_list and isinstance(row[responses], list):
            return start | {"responses": responses, numbers: column}
    response = _first([name for name in texts if name != prompt], "response")
    label = next((n for n in row if _matches(n, "label") and isinstance(row[n], bool | int)), None)
    if prompt and response and label:
        return start | {"response": response, "label": label}
    return None


def _may_be_text(name: str) -> bool:
    """Return whether a column may hold a text of the pair, and nothing that is said about one."""
    return not _matches(name, "about") and (
        not _matches(name, "writer") or _matches(name, "response") or _matches(name, "responses")
    )


def _with_other_part(prompt: str, texts: Sequence[str]) -> str | list[str]:
    """Return a prompt column together with the one that it is usually joined with."""
    if prompt == "instruction" and "input" in texts:
        return ["instruction", "input"]
    return ["context", prompt] if "context" in texts and prompt != "context" else prompt


def holds_one_answer_a_prompt(rows: Sequence[Row]) -> bool:
    """Return whether each row has a prompt and one answer to it, and no prompt has two."""
    prompts: list[str] = []
    for row in rows:
        messages = next((row[n] for n in ("messages", "conversations") if n in row), None)
        if isinstance(messages, list):
            if not _is_answered(messages) or any(_matches(n, "rejected") for n in row):
                return False
            prompts.append(json.dumps(messages[:-1], default=str))
            continue
        prompt = _first(list(row), "prompt")
        answers = [n for n in row if n != prompt and _may_be_text(n) and _is_answer_column(n)]
        if prompt is None or len(answers) != 1:
            return False
        prompts.append(json.dumps([row[n] for n in row if n not in answers], default=str))
    return bool(prompts) and len(set(prompts)) == len(prompts)


def _is_answer_column(name: str) -> bool:
    return any(_matches(name, field) for field in ("response", "chosen", "rejected"))


def _is_answered(messages: object) -> bool:
    """Return whether messages end with one that answers those before it."""
    if not isinstance(messages, list) or len(messages) < 2 or not isinstance(messages[-1], Mapping):
        return False
    last = messages[-1]
    speaker = last.get("role", last.get("from"))
    return speaker in ("assistant", "gpt", "model") and any(
        has_value(last.get(key)) for key in ("content", "value", "parts", "text", "tool_calls")
    )


def _words_of(name: str) -> list[str]:
    spaced = re.sub(r"([a-z])([A-Z0-9])", r"\1 \2", name)
    return (
        re.sub(r"non[-_]preferred", "nonpreferred", spaced, flags=re.I)
        .lower()
        .replace("-", " ")
        .replace("_", " ")
        .split()
    )


def _matches(name: str, field: str) -> bool:
    return not set(_words_of(name)).isdisjoint(_WORDS[field].split())


def _first(names: Sequence[str], field: str) -> str | None:
    """Return the column that a field's words name: the words' order comes before the columns'."""
    for word in _WORDS[field].split():
        for name in names:
            if word in _words_of(name):
                return name
    return None


def _two_sides(names: Sequence[str]) -> tuple[str, str] | None:
    """Return two columns whose names differ in `a` and `b`, or another such pair, alone.

    Those that name a response come first.
    """
    pairs = [
        (name, match)
        for name in names
        for one, other in _SIDES
        if one in (words := _words_of(name)) and not _matches(name, "prompt")
        for match in names
        if _words_of(match) == [other if word == one else word for word in words]
    ]
    return min(pairs, key=lambda pair: not _matches(pair[0], "response"), default=None)


def _guessed_winner(column: str, rows: Sequence[Row], sides: tuple[str, str]) -> dict[str, object]:
    """Return how a winner is written: by what the sides' names differ in, or by values of the rows.

    The user must check which is which.
    """
    values = sorted({str(row[column]) for row in rows if row.get(column) is not None})
    ties = [value for value in values if _matches(value, "tie")]
    decided = [value for value in values if value not in ties]
    first, second = _named_sides(decided, sides) or (*decided, "…", "…")[:2]
    guess: dict[str, object] = {"column": column, "a": first, "b": second}
    return guess | {"tie": ties} if ties else guess


def _named_sides(values: Sequence[str], sides: tuple[str, str]) -> tuple[str, str] | None:
    """Return the values that stand for each side, where their words say so: `model_a`, `B`, `left`.

    A number alone says so only if the sides have the same numbers: 1 may be the first or the second.
    """
    own = [
        word
        for name, other in (sides, sides[::-1])
        for word in _words_of(name)
        if word not in _words_of(other)
    ]
    for one, other in [tuple(own), *_SIDES] if len(own) == 2 else _SIDES:
        named = {
            value: [end for end in (one, other) if end in _words_of(value)] for value in values
        }
        is_own = [one, other] == own
        if values and all(
            len(ends) == 1 and (is_own or value.lower() not in "012")
            for value, ends in named.items()
        ):
            value, [end] = next(iter(named.items()))
            return _swapped(value, end, one), _swapped(value, end, other)
    return None


def _swapped(value: str, end: str, other: str) -> str:
    """Return a value with another end: `model_a` with `b` is `model_b`."""
    return re.sub(
        rf"(?<![A-Za-z0-9]){end}(?![A-Za-z0-9])",
        lambda match: other.upper() if match[0].isupper() else other,
        value,
        count=1,
        flags=re.IGNORECASE,
    )


def _columns_of(layout: PublishedLayout) -> set[str]:
    return {path.column for paths in layout.columns.paths.values() for path in paths}


def _nearest(columns: Sequence[str]) -> PublishedLayout | None:
    """Return the layout that shares most columns with the rows, if it shares any."""
    shares = {
        layout.name: len(_columns_of(layout) & set(columns))
        / len(_columns_of(layout) | set(columns))
        for layout in PUBLISHED
    }
    best = max(PUBLISHED, key=lambda layout: shares[layout.name])
    return best if shares[best.name] else None
