"""From a row of somebody's data to a checked PreferencePair, whichever of the common shapes it has.

| prompt   | chosen, rejected            | becomes                                              |
|----------|-----------------------------|------------------------------------------------------|
| string   | strings                     | a text pair                                          |
| any      | messages, or either of them | a chat pair; a prompt repeated in both is taken off  |
| messages | strings                     | a chat pair                                          |
| none     | messages                    | a chat pair; the prompt is what both begin with      |
| none     | "\\n\\nHuman: ..." strings  | a chat pair, the same way                            |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dpo_core.errors import DataError
from dpo_core.preferences.dialogue import parse_dialogue
from dpo_core.preferences.messages import (
    Turns,
    check_answer,
    check_prompt,
    common_prefix,
    preview,
    read_field,
)
from dpo_core.preferences.pairs import PreferencePair, chat_answer, chat_prompt, make_pair

SAME_ANSWER = "are the same answer"
SFT_COLUMNS = frozenset(
    {"completion", "response", "messages", "conversations", "instruction", "output", "answer"}
)


class _Fields(NamedTuple):
    prompt: Turns | str
    chosen: Turns | str
    rejected: Turns | str


def pair_from_row(row: Mapping[str, Any], *, where: str, line: int = 0) -> PreferencePair:
    """Check a row and name it. `where` (such as "pairs.jsonl:3") begins every error message.

    Columns other than prompt, chosen, rejected and category are ignored. Raises DataError.
    """
    _check_columns(row, where)
    fields = _separate(row, where)
    _check(fields, where)
    return make_pair(*fields, line=line, category=_category(row, where))


def _check_columns(row: Mapping[str, Any], where: str) -> None:
    missing = [name for name in ("chosen", "rejected") if name not in row]
    found = ", ".join(map(str, row)) or "none"
    if "rejected" in missing and SFT_COLUMNS & set(row):
        raise DataError(
            f"{where}: columns {found} hold one answer per prompt, which is data for SFT (supervised "
            "fine-tuning); DPO needs a rejected answer too: add `chosen` and `rejected`, or use SFT"
        )
    if missing:
        raise DataError(
            f"{where}: missing {_columns(missing)} (found: {found}); a preference pair has "
            "`prompt`, `chosen` and `rejected`, so add or rename columns"
        )


def _columns(names: list[str]) -> str:
    return ("column " if len(names) == 1 else "columns ") + " and ".join(f"`{n}`" for n in names)


def _separate(row: Mapping[str, Any], where: str) -> _Fields:
    """Divide a row into what was asked and the two answers."""
    chosen, rejected = (
        read_field(row[name], f"{where}: {name}") for name in ("chosen", "rejected")
    )
    if "prompt" not in row:
        return _without_prompt(*_dialogues(chosen, rejected, row, where))
    prompt = read_field(row["prompt"], f"{where}: prompt")
    if isinstance(prompt, str) and isinstance(chosen, str) and isinstance(rejected, str):
        return _Fields(prompt, chosen, rejected)
    return _without_repetition(prompt, chat_answer(chosen), chat_answer(rejected))


def _dialogues(
    chosen: Turns | str, rejected: Turns | str, row: Mapping[str, Any], where: str
) -> tuple[Turns, Turns]:
    """Both answers as whole dialogues, for a row without a prompt."""
    left = parse_dialogue(chosen) if isinstance(chosen, str) else chosen
    right = parse_dialogue(rejected) if isinstance(rejected, str) else rejected
    if left is None or right is None:
        name, text = ("chosen", chosen) if left is None else ("rejected", rejected)
        raise DataError(
            f"{where}: missing column `prompt` (found: {', '.join(map(str, row))}), and {name} "
            rf"{preview(text)} is not a dialogue of '\n\nHuman:' and '\n\nAssistant:' turns; "
            "add a `prompt` column"
        )
    return left, right


def _without_prompt(chosen: Turns, rejected: Turns) -> _Fields:
    shared = common_prefix(chosen, rejected)
    if chosen == rejected:
        shared = shared[:-1]  # the prompt is then fine, and the check of the answers speaks
    return _Fields(shared, chosen[len(shared) :], rejected[len(shared) :])


def _without_repetition(prompt: Turns | str, chosen: Turns, rejected: Turns) -> _Fields:
    """Take off the prompt where both answers repeat it, as UltraFeedback-like sets do."""
    repeated = _without_prompt(chosen, rejected)
    if isinstance(prompt, str):
        # The repetition may hold more than the string: a system message, or earlier turns.
        asked = [m["content"].strip() for m in chat_prompt(repeated.prompt) if m["role"] == "user"]
        if prompt.strip() in asked:
            return repeated
    elif chosen[: len(prompt)] == rejected[: len(prompt)] == prompt:
        return _Fields(prompt, chosen[len(prompt) :], rejected[len(prompt) :])
    return _Fields(chat_prompt(prompt), chosen, rejected)


def _check(fields: _Fields, where: str) -> None:
    chosen, rejected = chat_answer(fields.chosen), chat_answer(fields.rejected)
    check_answer(chosen, f"{where}: chosen")
    check_answer(rejected, f"{where}: rejected")
    check_prompt(chat_prompt(fields.prompt), f"{where}: prompt")
    if _words(chosen) == _words(rejected):
        raise DataError(
            f"{where}: chosen and rejected {SAME_ANSWER} {preview(chosen[-1]['content'])}; "
            "they express no preference, so drop the row"
        )


def _words(answer: Turns) -> list[tuple[str, str]]:
    return [(message["role"], message["content"].strip()) for message in answer]


def _category(row: Mapping[str, Any], where: str) -> str | None:
    """The category, a name that results are broken down by; blank and null are none."""
    value = row.get("category")
    if value is not None and not isinstance(value, str):
        raise DataError(
            f"{where}: category {preview(value)} must be a string; write it as text, or rename a "
            "column that means something else"
        )
    return value if value and value.strip() else None
