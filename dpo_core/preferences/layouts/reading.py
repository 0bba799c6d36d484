"""Reads a row by a mapping of its columns, and returns a row of the project's own.

| shape of the mapping | row                                      |
|----------------------|------------------------------------------|
| pairs, votes         | prompt, chosen, rejected                 |
| rankings             | prompt, responses, scores or ranks       |
| scored               | prompt, response, score                  |
| labelled             | prompt, response, label: safe or harmful |
| golden               | prompt, golden                           |

Tested in tests/unit/dpo_core/preferences/layouts/test_reading.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dpo_core.columns.mapping import Choice, ColumnMapping, Columns, Constant
from dpo_core.columns.paths import ColumnPath, parsed
from dpo_core.columns.published import OPTIONAL_COLUMNS
from dpo_core.errors import DataError
from dpo_core.preferences.layouts.conversations import (
    after_history,
    in_turns,
    nemo_turns,
    open_dialogue,
    open_turns,
    shared_text,
)
from dpo_core.preferences.messages import Turns, common_prefix, preview
from dpo_core.preferences.notes.no_pair import TIES, NoPair
from dpo_core.preferences.pairs import chat_answer, chat_prompt
from dpo_core.preferences.read_messages import read_field

Row = dict[str, object]
LABELS = {"good": "safe", "bad": "harmful"}
"""The labels of red-team responses, by the outcomes of a mapping's `label`."""
PARTED = "votes on conversations that part before their last answer"
_LISTS = ("responses", "scores", "ranks")
_ANSWERS = ("chosen", "rejected", "response", "golden")
_PAIRS = ("pairs", "votes")
_ROWS_OF_ONE = ("labelled", "scored")
_OTHERS = ("annotator", "weight", "margin")


@dataclass(frozen=True)
class MappedReader:
    """Reads rows by a mapping."""

    mapping: ColumnMapping
    because: str
    """Why rows are read so, for the error of a row that does not fit."""
    is_formatted: bool = False
    """Whether texts are already formatted: then `formatted` finds prompt and answers in them."""
    first_columns: frozenset[str] = frozenset()
    """The columns of the first rows; a column that is none of them is a mistake of the settings."""
    setting: str = "data.columns"
    """The key that says which columns to read."""
    is_published: bool = False
    """Whether the layout is published: then a third answer of a row is not left out knowingly."""

    def read(self, row: Row, where: str) -> Row:
        """Return the row of the project's own that a row makes.

        Raises:
            DataError: A column has no value, or one that does not fit.
            NoPair: The row makes no pair.
        """
        if self._is_direct:
            if self._changed.isdisjoint(row):
                return row
            answers: Row = {name: row[name] for name in self._own_names if name in row}
        else:
            answers = self._renamed(row, where)
        return self._others(row, where) | answers

    def _renamed(self, row: Row, where: str) -> Row:
        shape = self.mapping.shape
        if shape == "rankings":
            return self._ranking(row, where)
        if self._two_answers is not None:
            _refuse_third_answer(self._two_answers, row, where, self.because)
        answers = self._vote(row, where) if shape == "votes" else self._answers(row, where)
        if "prompt" in self.mapping.fields and not self._is_prompt_of_turns:
            answers["prompt"] = self._prompt(row, where)
        elif shape in _PAIRS and not self.is_formatted:
            answers |= without_shared_text(answers, where)
        return (
            answers | _without_repeated_prompt(answers, where) if shape in _ROWS_OF_ONE else answers
        )

    @cached_property
    def _two_answers(self) -> ColumnPath | None:
        """Return the path of a list whose first two items are the answers of a published layout."""
        names = ("a", "b") if self.mapping.shape == "votes" else ("chosen", "rejected")
        (left, *_), (right, *_) = (self.mapping.paths.get(name, ()) or [None] for name in names)
        if not self.is_published or left is None or right is None or "[0]" not in left.text:
            return None
        is_next = left.text.replace("[0]", "[1]") == right.text
        return ColumnPath.parse(left.text.rpartition("[0]")[0]) if is_next else None

    @cached_property
    def _own_names(self) -> list[str]:
        return [name for name in self.mapping.fields if name not in (*OPTIONAL_COLUMNS, *_OTHERS)]

    @cached_property
    def _is_direct(self) -> bool:
        """Return whether the columns have the project's own names already."""
        return "prompt" in self.mapping.fields and all(
            isinstance(field, Columns)
            and field.reading == "as_is"
            and [path.text for path in field.paths] == [name]
            for name, field in self.mapping.fields.items()
        )

    @cached_property
    def _changed(self) -> frozenset[str]:
        """Return the columns for which even a row of the project's own names has to be changed."""
        columns = {name for names in OPTIONAL_COLUMNS.values() for name in names}
        as_they_are = {"tools", "chat_template_kwargs"} - self.mapping.ignored
        return frozenset(columns | {*_OTHERS} | self.mapping.ignored) - as_they_are

    def _value(self, name: str, row: Row) -> object:
        field = self.mapping.fields.get(name)
        if field is None:
            return None
        if isinstance(field, Constant):
            return field.value
        paths = (field.path,) if isinstance(field, Choice) else field.paths
        values = [path.value_in(row) for path in paths]
        if len(values) == 1:
            return values[0]
        if name in _LISTS:
            return values
        texts = [value for value in values if has_value(value)]
        if len(texts) > 1:
            return "\n".join(map(str, texts))
        return texts[0] if texts else None

    def _required(self, name: str, row: Row, where: str) -> object:
        value = self._value(name, row)
        if value is None:
            paths = " or ".join(f"`{path.text}`" for path in self.mapping.paths[name])
            columns = ", ".join(map(str, row)) or "none"
            raise DataError(
                f"{where}: no value at {paths}, which is {name} ({self.because}; columns of this row: "
                f"{columns}); {self._remedy(name)}"
            )
        return value

    def _remedy(self, name: str) -> str:
        """Return what to correct where a field has no value: the settings, if no row has its column."""
        names = {text for path in self.mapping.paths[name] for text in (path.text, path.column)}
        if not names.isdisjoint(self.first_columns):
            return "correct the row"
        return f"correct {self.setting}, because none of the first rows has that column"

    @cached_property
    def _is_prompt_of_turns(self) -> bool:
        field = self.mapping.fields.get("prompt")
        return isinstance(field, Columns) and field.is_all_turns

    def _reading(self, name: str) -> str:
        field = self.mapping.fields.get(name)
        return field.reading if isinstance(field, Columns) else "as_is"

    def _answers(self, row: Row, where: str) -> Row:
        answers: Row = {}
        for name in self.mapping.fields:
            if name in _ANSWERS:
                answers[name] = self._answer(name, row, where)
            elif name == "score":
                answers[name] = self._required(name, row, where)
            elif name == "label":
                answers[name] = LABELS[self._outcome(name, row, where)]
        return answers

    def _answer(self, name: str, row: Row, where: str) -> object:
        value = self._required(name, row, where)
        if self._reading(name) == "turns":
            return in_turns(self._required("prompt", row, where), value, f"{where}: {name}")
        is_spoken = "dialogue" in (self._reading(name), self._reading("prompt"))
        return value.strip() if is_spoken and isinstance(value, str) else value

    def _prompt(self, row: Row, where: str) -> object:
        if self._reading("prompt") == "turns":
            questions, answers = (path.value_in(row) for path in self.mapping.paths["prompt"])
            return open_turns(questions, answers, f"{where}: prompt")
        prompt = self._required("prompt", row, where)
        if self._reading("prompt") == "dialogue":
            turns = open_dialogue(prompt)
            if turns is None:
                raise DataError(
                    rf"{where}: prompt {preview(prompt)} is no dialogue of '\n\nHuman:' and "
                    rf"'\n\nAssistant:' turns up to an answer ({self.because}); correct the row"
                )
            prompt = turns
        elif self._reading("prompt") == "nemo_dialogue" and isinstance(prompt, str):
            prompt = nemo_turns(prompt)
        history = self._value("history", row)
        return after_history(history, prompt, where) if has_value(history) else prompt

    def _vote(self, row: Row, where: str) -> Row:
        outcome = self._outcome("winner", row, where)
        chosen, rejected = ("a", "b") if outcome == "a" else ("b", "a")
        sides = self._answer(chosen, row, where), self._answer(rejected, row, where)
        if "prompt" not in self.mapping.fields or self._is_prompt_of_turns:
            sides = _dialogues(*sides, where)
        return dict(zip(("chosen", "rejected"), sides, strict=True))

    def _outcome(self, name: str, row: Row, where: str) -> str:
        choice = self.mapping.fields[name]
        assert isinstance(choice, Choice)
        value = self._required(name, row, where)
        outcome = choice.outcome(value)
        if outcome is None:
            raise DataError(
                f"{where}: {choice.path.text} {preview(value)} names none of "
                f"{', '.join(choice.outcomes)} ({self.because}); correct it, or list it as `tie` in "
                "data.columns"
            )
        if outcome == "tie":
            raise NoPair(TIES)
        return outcome

    def _ranking(self, row: Row, where: str) -> Row:
        names = [name for name in self.mapping.fields if name in _LISTS]
        ranking: Row = {name: parsed(self._required(name, row, where)) for name in names}
        for name in ("scores", "ranks"):
            if name in ranking:
                ranking[name] = _numbers(ranking[name])
        if self._reading("responses") == "turns" and isinstance(ranking["responses"], list):
            questions = self._required("prompt", row, where)
            answers = ranking["responses"]
            ranking["responses"] = [in_turns(questions, each, where) for each in answers]
        elif "prompt" in self.mapping.fields:
            return ranking | {"prompt": self._prompt(row, where)}
        return ranking | _without_shared_turns(ranking["responses"], where)

    def _others(self, row: Row, where: str) -> Row:
        """Return the values beside prompt and answers; those that are null or empty are left out."""
        others: Row = {}
        for name in (*OPTIONAL_COLUMNS, *_OTHERS):
            if name in self.mapping.fields:
                value = self._value(name, row)
            else:
                value = _value_by_its_name(name, row, self.mapping.ignored, where)
            if has_value(value):
                others[name] = value
        return others


def _refuse_third_answer(answers: ColumnPath, row: Row, where: str, because: str) -> None:
    """Raise DataError if a list of two answers has more, which nothing would read."""
    items = parsed(answers.value_in(row))
    if isinstance(items, list) and len(items) > 2:
        raise DataError(
            f"{where}: `{answers.text}` has {len(items)} answers, and a row of this layout has two "
            f"({because}); write a row for each two, or name two with data.columns"
        )


def _numbers(values: object) -> object:
    """Return a list with the numbers that texts of it spell out, as those of a CSV file do."""
    if not isinstance(values, list):
        return values
    return [_number(value) if isinstance(value, str) else value for value in values]


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _value_by_its_name(name: str, row: Row, ignored: frozenset[str], where: str) -> object:
    """Return the value of a field that means the same wherever it occurs, or None.

    Raises DataError if two of its columns have different values.
    """
    values = {
        column: row[column]
        for column in OPTIONAL_COLUMNS.get(name, ())
        if column in row and column not in ignored and has_value(row[column])
    }
    if not values:
        return None
    first, *others = values
    for other in others:
        if values[other] != values[first]:
            raise DataError(
                f"{where}: `{first}` and `{other}` have different values; say which is {name} with "
                f"data.columns, and leave the other out with `ignore: [{other}]`"
            )
    return values[first]


def has_value(value: object) -> bool:
    """Return whether a value is more than null or empty."""
    if isinstance(value, str):
        return bool(value.strip()) and value not in ("[]", "{}", "null")
    if isinstance(value, list | tuple):
        return any(map(has_value, value))
    if isinstance(value, Mapping):
        return any(map(has_value, value.values()))
    return value is not None and value == value  # NaN is not equal to itself, and is no value


def without_shared_text(answers: Row, where: str) -> Row:
    """Return the prompt that two texts begin with and what follows it, or nothing for other values.

    Dialogues and messages keep their beginning: the reader of pairs finds the prompt in them.
    """
    chosen, rejected = answers["chosen"], answers["rejected"]
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        return {}
    sides = [read_field(text, where) for text in (chosen, rejected)]
    if not all(isinstance(side, str) and not side.startswith("\n\nHuman:") for side in sides):
        return {}
    prompt = shared_text(chosen, rejected)
    if not prompt:
        raise DataError(
            f"{where}: chosen and rejected begin with different words, so they share no prompt; add a "
            "`prompt` column, or name it with data.columns"
        )
    texts = [text[len(prompt) :].strip() for text in (chosen, rejected)]
    return {"prompt": prompt.strip(), "chosen": texts[0], "rejected": texts[1]}


def _without_repeated_prompt(answers: Row, where: str) -> Row:
    """Return prompt and response of a response that is the whole conversation, or nothing.

    The conversation must hold the prompt: it may begin with a system message or with earlier turns.
    """
    turns = read_field(answers["response"], f"{where}: response")
    if isinstance(turns, str):
        return {}
    asked = [number for number, message in enumerate(turns) if message["role"] == "user"]
    if not asked:
        return {}
    start = asked[-1] + 1
    prompt = chat_prompt(read_field(answers["prompt"], f"{where}: prompt"))
    if prompt[-1] not in turns[:start]:
        return {}
    return {"prompt": turns[:start], "response": turns[start:]}


def _dialogues(left: object, right: object, where: str) -> tuple[object, object]:
    """Return two whole conversations. Raises NoPair if they part before their last answers."""
    sides = [read_field(side, where) for side in (left, right)]
    turns = [side for side in sides if not isinstance(side, str)]
    if len(turns) == 2:
        shared = len(common_prefix(*turns))
        _refuse_parted([side[shared:] for side in turns])
    return sides[0], sides[1]


def _without_shared_turns(responses: object, where: str) -> Row:
    """Return the prompt that all conversations begin with, and the rest of each."""
    if not isinstance(responses, list) or not responses:
        raise DataError(f"{where}: {preview(responses)} must be a list of conversations")
    turns = [chat_answer(read_field(each, f"{where}: responses")) for each in responses]
    shared: Turns = turns[0]
    for each in turns[1:]:
        shared = common_prefix(shared, each)
    rest = [each[len(shared) :] for each in turns]
    _refuse_parted(rest)
    return {"prompt": shared, "responses": rest}


def _refuse_parted(sides: list[Turns]) -> None:
    """Raise NoPair if a conversation goes on after it has parted from others: they share no prompt."""
    if any(message["role"] == "user" for side in sides for message in side):
        raise NoPair(PARTED)
