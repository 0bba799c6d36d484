"""Recognizes the layout of a source by its first rows, once; later rows must fit it.

Tested in tests/unit/dpo_core/preferences/layouts/test_recognition.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dpo_core.columns.mapping import (
    Choice,
    ColumnMapping,
    Columns,
    Shape,
    ignored_columns,
    names_fields,
)
from dpo_core.columns.paths import ColumnPath, parsed
from dpo_core.columns.published import AUTO, LAYOUTS, PUBLISHED, PublishedLayout
from dpo_core.errors import DataError
from dpo_core.preferences.dialogue import parse_dialogue
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.layouts.classification import ColumnUse, ColumnWatch
from dpo_core.preferences.layouts.conversations import open_dialogue, shared_text, texts_of
from dpo_core.preferences.layouts.guess import answer_for_unknown
from dpo_core.preferences.layouts.reading import MappedReader, Row, has_value
from dpo_core.preferences.messages import preview
from dpo_core.settings import SourceSettings

FIRST_ROWS = 64
"""The rows by which a layout is recognized."""
_COLUMNS = "columns"
_RULES = {"best_worst": "best against worst", "adjacent": "each against the next", "all": "any two"}
_OWN_FIELDS: dict[str, tuple[Shape, tuple[str, ...]]] = {
    "rankings": ("rankings", ("prompt", "responses", "ranks", "scores", "annotator")),
    "red_team": ("labelled", ("prompt", "response", "label")),
    "golden": ("golden", ("prompt", "golden")),
}
_PAIR = {"prompt", "chosen", "rejected"}
_PROMPTS = ("prompt", "question", "query", "instruction", "input", "problem", "context")


@dataclass(frozen=True)
class SourceReader:
    """Reads the rows of a source by the layout that was recognized."""

    layout: str
    sentence: str
    mapping: ColumnMapping
    reader: MappedReader
    watch: ColumnWatch

    @property
    def shape(self) -> Shape:
        """Return what the rows are."""
        return self.mapping.shape

    def read(self, record: Record) -> Record:
        """Return a record of the project's own row.

        Raises:
            DataError: The row does not fit the layout, or something in it would be lost.
            NoPair: The row makes no pair.
        """
        row = record.row
        if not isinstance(row, dict):
            raise DataError(
                f"{record.where}: {preview(row)} must be a JSON object with the keys of a row"
            )
        self.watch.check(row, record.where)
        mapped = self.reader.read(row, record.where)
        return record if mapped is row else Record(mapped, record.line, record.where)

    def check_names(self, path: str) -> None:
        """Raise DataError for a column of data.columns that no row has: its name is a mistake."""
        if self.layout != _COLUMNS:
            return
        missing = self.watch.missing()
        if missing:
            name, column = missing
            columns = ", ".join(sorted(self.watch.columns))
            raise DataError(
                f"{path}: data.columns: {name}: no row has a column {column!r} (columns: {columns}); "
                "correct the name"
            )

    def use(self) -> ColumnUse:
        """Return what became of the columns of all rows that were read."""
        return self.watch.use(self.layout, self.sentence)


def recognize(records: Sequence[Record], source: SourceSettings) -> SourceReader:
    """Return the reader of a source, by its settings and first records.

    Raises:
        DataError: The rows are of no known layout; the error says what would read them.
    """
    rows = [record.row for record in records if isinstance(record.row, dict)]
    if source.columns is not None and names_fields(source.columns):
        mapping = ColumnMapping.parse(source.columns)
        return _reader(_COLUMNS, "read by data.columns", mapping, source, rows)
    if source.layout != AUTO:
        return _published_reader(LAYOUTS[source.layout], source, rows)
    if source.kind != "pairs" and not _fits_published_ranking(source, rows):
        shape, names = _OWN_FIELDS[source.kind]
        mapping = _by_own_names(shape, names)
        return _reader(source.kind, f"read as {source.kind}", mapping, source, rows)
    layout = next(
        (each for each in PUBLISHED if fits(each, rows, is_formatted=source.format is not None)),
        None,
    )
    if layout is not None:
        return _published_reader(layout, source, rows)
    if not rows or any(set(row) >= _PAIR for row in rows):  # the errors of bad rows say more
        return _published_reader(LAYOUTS["pairs"], source, rows)
    where = next(record.where for record in records if isinstance(record.row, dict))
    raise DataError(f"{where}: {answer_for_unknown(rows)}")


def fits(layout: PublishedLayout, rows: Sequence[Row], *, is_formatted: bool = False) -> bool:
    """Return whether most of the rows are of a layout.

    Args:
        layout: The layout.
        rows: The first rows of a source.
        is_formatted: Whether texts are already formatted, so that their beginnings say nothing.

    Returns:
        Whether it reads them.
    """
    if layout is LAYOUTS["pairs"]:  # rows of bad values are bad rows, and no other layout
        fitting = sum(set(row) >= _PAIR for row in rows)
    else:
        fitting = sum(_fits_row(layout.columns, row) for row in rows)
    return fitting * 2 > len(rows) and (
        "prompt" in layout.columns.fields or _share_prompts(layout.columns, rows, is_formatted)
    )


def _fits_row(mapping: ColumnMapping, row: Row) -> bool:
    for name in mapping.required:
        field = mapping.fields[name]
        paths = mapping.paths.get(name, ())
        values = [path.value_in(row) for path in paths]
        if all(map(_is_nothing, values)) or (paths and paths[0].column not in row):
            return False
        if isinstance(field, Choice) and field.outcome(values[0]) is None:
            return False
        if isinstance(field, Columns) and not _are_readable(name, field, values):
            return False
    return True


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(item is None for item in value))


def _are_readable(name: str, field: Columns, values: Sequence[object]) -> bool:
    if name == "prompt" and field.reading == "turns" and not field.is_all_turns:
        return all(isinstance(parsed(value), str | list) for value in values if value is not None)
    return all(_is_readable(name, field.reading, value) for value in values if value is not None)


def _is_readable(name: str, reading: str, value: object) -> bool:
    if reading == "dialogue":
        return open_dialogue(value) is not None
    if reading == "turns":
        return bool(texts_of(value))
    value = parsed(value)
    if name == "prompt" and isinstance(value, list) and value and isinstance(value[-1], Mapping):
        # A list that ends with an answer is a whole conversation, and no prompt.
        return value[-1].get("role", value[-1].get("from")) not in ("assistant", "gpt", "model")
    return True


def _share_prompts(mapping: ColumnMapping, rows: Sequence[Row], is_formatted: bool) -> bool:
    """Return whether both sides of most rows begin alike, and no column looks like the prompt."""
    if mapping.shape != "pairs":
        return True
    if any(has_value(row.get(name)) for row in rows for name in _PROMPTS):
        return False
    if is_formatted:
        return True
    pairs = [
        (
            _first_path(mapping, "chosen").value_in(row),
            _first_path(mapping, "rejected").value_in(row),
        )
        for row in rows
    ]
    lists = [(a, b) for a, b in pairs if isinstance(a, list) and isinstance(b, list)]
    if any(a[:1] != b[:1] for a, b in lists):
        return False
    texts = [(a, b) for a, b in pairs if isinstance(a, str) and isinstance(b, str)]
    prompts = [
        prompt
        for a, b in texts
        if (prompt := "dialogue" if _are_dialogues(a, b) else shared_text(a, b))
    ]
    # Answers of one style begin alike too: "It is …". Prompts differ.
    is_style = len(prompts) > 1 and len(set(prompts)) == 1 and "dialogue" not in prompts
    return len(prompts) * 10 >= len(texts) * 9 and not is_style


def _are_dialogues(left: str, right: str) -> bool:
    return parse_dialogue(left) is not None and parse_dialogue(right) is not None


def _first_path(mapping: ColumnMapping, name: str) -> ColumnPath:
    return mapping.paths[name][0]


def _fits_published_ranking(source: SourceSettings, rows: Sequence[Row]) -> bool:
    """Return whether a source of rankings has them in a published layout, and not in our own."""
    if source.kind != "rankings" or any({"prompt", "responses"} <= set(row) for row in rows):
        return False
    return any(
        each.columns.shape in ("rankings", "scored") and fits(each, rows) for each in PUBLISHED
    )


def _by_own_names(shape: Shape, names: Sequence[str]) -> ColumnMapping:
    return ColumnMapping(shape, {name: Columns((ColumnPath.parse(name),)) for name in names})


def _published_reader(
    layout: PublishedLayout, source: SourceSettings, rows: Sequence[Row]
) -> SourceReader:
    sentence = f"read as {layout.title}"
    paths = layout.columns.paths
    by = next((paths[name] for name in ("scores", "ranks", "score") if name in paths), ())
    if len(by) == 1:
        sentence += f": {_RULES[source.rule]} by {by[0].text.rpartition('.')[2]}"
    return _reader(layout.name, sentence, layout.columns, source, rows)


def _reader(
    name: str,
    sentence: str,
    mapping: ColumnMapping,
    source: SourceSettings,
    rows: Sequence[Row],
) -> SourceReader:
    if source.format is not None:
        mapping = mapping.as_formatted()
    by_user = names_fields(source.columns) or source.layout != AUTO
    if source.columns is not None:
        mapping = replace(mapping, ignored=mapping.ignored | ignored_columns(source.columns))
    because = sentence if by_user else f"{sentence}, as the first rows are"
    reader = MappedReader(
        mapping,
        because,
        is_formatted=source.format is not None,
        first_columns=frozenset(column for row in rows for column in row),
        setting="data.layout" if name == source.layout else "data.columns",
        is_published=name in LAYOUTS,
    )
    return SourceReader(name, sentence, mapping, reader, ColumnWatch(mapping))
