"""Tables of preference pairs in a file on disk, of which only the pairs in use are in memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dpo_core.preferences.messages import Turns
from dpo_core.preferences.pairs import PreferencePair, extras_of
from dpo_core.storage.arrow_files import map_rows, write_batches, write_rows

Indices = npt.NDArray[np.int64]


class PairTable(Sequence[PreferencePair]):
    """Pairs of an Arrow file that is mapped into memory: all rows, or those at the positions `order`."""

    def __init__(
        self, table: pa.Table, order: Indices | None = None, keep_alive: object = None
    ) -> None:
        """Keep a reference to `keep_alive`, whose file is deleted when nothing refers to it."""
        self.table, self.keep_alive = table, keep_alive
        self.order: Indices = np.arange(table.num_rows) if order is None else order

    @classmethod
    def of(cls, pairs: Iterable[PreferencePair]) -> PairTable:
        """Return a table as it is, and other pairs as a table whose file is deleted with it."""
        if isinstance(pairs, cls):
            return pairs
        folder = tempfile.TemporaryDirectory(prefix="dpo-sweeps-pairs-")
        table = cls.write(pairs, Path(folder.name) / "pairs.arrow")
        return cls(table.table, keep_alive=folder)

    @classmethod
    def write(cls, pairs: Iterable[PreferencePair], path: Path) -> PairTable:
        """Write pairs to a file and return the file as a table."""
        if isinstance(pairs, cls):
            write_batches(path, _SCHEMA, pairs._batches())
        else:
            write_rows(path, _SCHEMA, map(_values, pairs))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> PairTable:
        """Map a file of pairs into memory. Raises pyarrow.ArrowInvalid if it is no such file."""
        return cls(map_rows(path))

    def take(self, order: Indices) -> PairTable:
        """Return the pairs at these positions, in this order, without copying them."""
        return PairTable(self.table, self.order[order], self.keep_alive)

    def with_groups(self, names: Mapping[str, str]) -> PairTable:
        """Return the pairs with other groups, each by the name of its present one, if it is there."""
        column = self.table.schema.get_field_index("group")
        present = self.table["group"].combine_chunks().dictionary_encode()
        renamed = [names.get(name, name) for name in present.dictionary.to_pylist()]
        groups = pa.array(renamed, pa.string()).take(present.indices)
        table = self.table.set_column(column, "group", groups)
        return PairTable(table, self.order, self.keep_alive)

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, index: int) -> PreferencePair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PreferencePair]: ...
    def __getitem__(self, index: int | slice) -> PreferencePair | Sequence[PreferencePair]:
        if isinstance(index, slice):
            return [*self.take(np.arange(len(self))[index])]
        position = int(self.order[range(len(self))[index]])
        [row] = self.table.slice(position, 1).to_pylist()
        return _pair(row)

    def __iter__(self) -> Iterator[PreferencePair]:
        for batch in self._batches():
            yield from map(_pair, batch.to_pylist())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, a few at a time. Arrow's own `take` would first join all batches."""
        batches = self.table.to_batches()
        ends = np.cumsum([len(batch) for batch in batches])
        numbers = np.searchsorted(ends, self.order, side="right")
        changes = np.flatnonzero(np.diff(numbers)) + 1
        for run in np.split(np.arange(len(self)), changes):
            if len(run):
                number = numbers[run[0]]
                start = ends[number] - len(batches[number])
                yield batches[number].take(pa.array(self.order[run] - start))

    def column(self, name: str) -> list[Any]:
        """Return the stored values of a column, one a pair; prompt and answers are JSON texts."""
        return list(self.table[name].take(self.order).to_pylist())

    def longest(self, count: int) -> PairTable:
        """Return the pairs whose prompts and longer answers have most bytes, at most `count`."""
        lengths = {
            name: pc.binary_length(self.table[name]).to_numpy()[self.order]
            for name in ("prompt", "chosen", "rejected")
        }
        bytes_of_pair = lengths["prompt"] + np.maximum(lengths["chosen"], lengths["rejected"])
        return self.take(np.argsort(-bytes_of_pair, kind="stable")[:count])

    def prompts(self) -> Iterator[tuple[str, Turns | str]]:
        """Yield the group and the prompt of each pair, without reading its answers."""
        columns = PairTable(self.table.select(["group", "prompt"]), self.order)
        for batch in columns._batches():
            prompts = map(_side, batch.column("prompt").to_pylist())
            yield from zip(batch.column("group").to_pylist(), prompts, strict=True)

    @property
    def unanswered_count(self) -> int:
        """Return the number of golden answers that have no rejected side yet."""
        empty = pc.equal(self.table["rejected"], json.dumps(())).to_numpy()
        return int(empty[self.order].sum())

    @cached_property
    def groups(self) -> Groups:
        """Return the prompt groups of the pairs."""
        encoded = self.table["group"].take(self.order).combine_chunks().dictionary_encode()
        numbers = encoded.indices.to_numpy().astype(np.int64)
        first: Indices = np.unique(numbers, return_index=True)[1]
        return Groups(list(encoded.dictionary.to_pylist()), numbers, first)


@dataclass(frozen=True)
class Groups:
    """The prompt groups of a table, in the order of their first pair."""

    names: list[str]
    of_pair: Indices
    """The index in `names` of each pair's group, shape (pairs,)."""
    first: Indices
    """The position of each group's first pair, shape (groups,)."""

    @property
    def sizes(self) -> Indices:
        """Return the number of pairs of each group, shape (groups,)."""
        return np.bincount(self.of_pair, minlength=len(self.names))


_JSON = json.JSONEncoder(ensure_ascii=False)


class _StoredRow(TypedDict):
    """A row as it is stored; prompt, answers and extras are JSON texts."""

    id: str
    group: str
    prompt: str
    chosen: str
    rejected: str
    line: int
    category: str | None
    source: str | None
    extras: str | None


def _values(pair: PreferencePair) -> list[object]:
    return [
        pair.id,
        pair.group,
        *map(_JSON.encode, (pair.prompt, pair.chosen, pair.rejected)),
        pair.line,
        pair.category,
        pair.source,
        _JSON.encode(extras) if (extras := extras_of(pair)) else None,
    ]


def _pair(row: _StoredRow) -> PreferencePair:
    extras = json.loads(row["extras"]) if row["extras"] else {}
    return PreferencePair(
        id=row["id"],
        group=row["group"],
        prompt=_side(row["prompt"]),
        chosen=_side(row["chosen"]),
        rejected=_side(row["rejected"]),
        line=row["line"],
        category=row["category"],
        source=row["source"],
        tools=tuple(extras.get("tools", ())),
        template_kwargs=extras.get("chat_template_kwargs", {}),
        weight=extras.get("weight"),
        margin=extras.get("margin"),
    )


def _side(text: str) -> Turns | str:
    side = json.loads(text)
    return side if isinstance(side, str) else tuple(side)


_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "group": pa.string(),
        "prompt": pa.large_string(),
        "chosen": pa.large_string(),
        "rejected": pa.large_string(),
        "line": pa.int64(),
        "category": pa.string(),
        "source": pa.string(),
        "extras": pa.string(),
    }
)
