"""Says of every column of a source whether it is used, and refuses those that must not be lost.

A column is used, or is carried along and named, or would change what a model is trained on and nothing
reads it: then a row that has a value in it is refused.

Tested in tests/unit/dpo_core/preferences/layouts/test_classification.py.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping
from dataclasses import dataclass, field

from dpo_core.columns.mapping import ColumnMapping
from dpo_core.columns.paths import ColumnPath, parsed
from dpo_core.columns.published import OPTIONAL_COLUMNS
from dpo_core.errors import DataError
from dpo_core.preferences.layouts.reading import Row, has_value
from dpo_core.preferences.messages import preview

_MEDIA = frozenset(
    f"{stem}{ending}"
    for stem in ("image", "video", "audio")
    for ending in ("", "s", "_path", "_paths", "_url", "_urls", "_bytes")
) | {"pixel_values", "speech"}
_PROMPT_PARTS = frozenset({"history", "context", "documents", "functions", "function_call"})
_REJECTED_PARTS = frozenset({"rejected_images", "rejected_videos", "rejected_audios"})
_UNREAD = (
    _MEDIA
    | _PROMPT_PARTS
    | _REJECTED_PARTS
    | {column for names in OPTIONAL_COLUMNS.values() for column in names}
)


@dataclass(frozen=True)
class ColumnUse:
    """The columns of a source that were used, and those that were not."""

    layout: str
    """The value of `data.layout` that reads the source, or `columns`."""
    sentence: str
    """How the source is read, such as "read as Orca pairs"."""
    used: Mapping[str, str] = field(default_factory=dict)
    """What each used column is, by its path."""
    ignored: tuple[str, ...] = ()
    """The columns that nothing reads, by their paths, sorted."""


class ColumnWatch:
    """Follows the columns of a source while its rows are read."""

    def __init__(self, mapping: ColumnMapping) -> None:
        self._mapping = mapping
        # Those of the mapping's own are not looked for by their usual names.
        by_name = {
            column: name
            for name, columns in OPTIONAL_COLUMNS.items()
            if name not in mapping.fields
            for column in columns
            if column not in mapping.ignored
        }
        self._by_name = by_name
        self._unread = _UNREAD - mapping.ignored - set(by_name)
        self._last: KeysView[str] | None = None
        self._watched: list[str] = []
        self.columns: set[str] = set()
        self._used: dict[str, str] = {}
        self._ignored: set[str] = set()

    def check(self, row: Row, where: str) -> None:
        """Take note of a row's columns. Raises DataError for a value that would be lost."""
        if row.keys() != self._last:
            self._see(row)
        for column in self._watched:
            if has_value(row[column]):
                raise DataError(_loss(column, row[column], where))

    def missing(self) -> tuple[str, str] | None:
        """Return a field of the mapping and its column that no row has, or None if there is none."""
        for name, paths in self._mapping.paths.items():
            for path in paths:
                if path.text not in self._used:
                    return name, path.column
        return None

    def use(self, layout: str, sentence: str) -> ColumnUse:
        """Return what became of the columns of all rows so far."""
        return ColumnUse(layout, sentence, dict(self._used), tuple(sorted(self._ignored)))

    def _see(self, row: Row) -> None:
        self._last = row.keys()
        self.columns |= set(map(str, row))
        paths = {
            path: name
            for name, each in self._mapping.paths.items()
            for path in each
            if path.column_in(row) in row
        }
        read = {path.column_in(row) for path in paths}
        self._used |= {path.text: name for path, name in paths.items()}
        self._used |= {column: self._by_name[column] for column in row if column in self._by_name}
        unused = [column for column in row if column not in self._used and column not in read]
        self._watched = [column for column in unused if column in self._unread]
        self._ignored |= set(map(str, unused))
        for column in read - set(self._used):
            self._ignored |= set(unused_parts(column, row[column], paths))


def unused_parts(column: str, value: object, paths: Iterable[ColumnPath]) -> list[str]:
    """Return the paths to keys in a column's value that no path of a mapping passes.

    Args:
        column: A column that some paths begin in.
        value: Its value in a row.
        paths: The paths that are read.

    Returns:
        Paths such as `completions[].custom_system_prompt`.
    """
    reads = [path.text for path in paths]
    return [text for text in _keys_in(column, parsed(value)) if not _is_read(text, reads)]


def _keys_in(text: str, value: object) -> list[str]:
    if isinstance(value, list) and value:
        return _keys_in(f"{text}[]", parsed(value[0]))
    if not isinstance(value, Mapping):
        return []
    return [f"{text}.{key}" for key in value]


def _is_read(text: str, reads: Iterable[str]) -> bool:
    """Return whether a key is on the way of a path, whose list positions may be numbers or ranges."""
    for read in reads:
        plain = _without_positions(read)
        if plain == _without_positions(text) or plain.startswith(f"{_without_positions(text)}."):
            return True
        if _without_positions(text).startswith(f"{plain}."):  # the whole of what holds it is read
            return True
    return False


def _without_positions(text: str) -> str:
    return ".".join(part.partition("[")[0] for part in text.split("."))


def _loss(column: str, value: object, where: str) -> str:
    shown = preview(value, 40)
    if column in _MEDIA or column in _REJECTED_PARTS:
        return (
            f"{where}: `{column}` holds {shown}, and only text can be trained on; leave such rows out, "
            f"or drop the column with data.columns and `ignore: [{column}]` if the texts stand alone"
        )
    return (
        f"{where}: `{column}` holds {shown}, which may belong to the prompt, and nothing reads it; say "
        f"what it is with data.columns, or leave it out there with `ignore: [{column}]`"
    )
