"""Encoded pairs: one pair, a table of any number of pairs, and a report about a table."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dpo_core.encoding.template_losses import Loss
from dpo_core.storage.arrow_files import map_rows, record_batch, write_rows

TokenIds = tuple[int, ...]
Counts = npt.NDArray[np.int64]
PARTS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class EncodedPair:
    """The token ids of one pair; `cut_…` count tokens that truncation removed."""

    id: str
    prompt: TokenIds
    chosen: TokenIds
    rejected: TokenIds
    cut_prompt: int = 0
    cut_answers: int = 0
    merged: bool = False  # the tokens of the prompt were not a prefix of those of prompt + answer
    special_words: int = 0  # special tokens that the texts spell out and that are encoded as text
    source: str | None = None
    category: str | None = None
    cut_chosen: int = 0
    """Those of `cut_answers` that were removed from the chosen answer."""
    cut_turns: int = 0
    """Oldest turns that truncation dropped from the prompt; `cut_prompt` counts their tokens too."""
    cut_question: int = 0
    """Those of `cut_prompt` that were removed from the start of the last turn."""
    losses: tuple[Loss, ...] = ()
    """What the chat template dropped or moved."""
    weight: float = 1.0
    """The factor of the pair's training loss."""
    margin: float = 0.0
    """The offset of its score, without a unit; see `training.loss.dpo_losses`."""

    @property
    def tokens(self) -> int:
        """Return the tokens of the pair in a packed row: prompt + chosen + rejected."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def longest_sequence(self) -> int:
        """Return the tokens of prompt and longer answer."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    @property
    def distinct(self) -> bool:
        """Return whether the answers differ; if not, the pair is scored as a tie and never trained."""
        return self.chosen != self.rejected


@dataclass(frozen=True)
class EncodingReport:
    """The counts of an encoded split, printed by `plan` and stored with the sweep."""

    pairs: int
    prompts_cut: int
    answers_cut: int
    indistinct: int
    merged: int
    with_special_words: int
    prompt_tokens: int
    chosen_tokens: int
    rejected_tokens: int
    turns_dropped: int = 0
    """Pairs that lost oldest turns of the prompt to cutting."""
    questions_cut: int = 0
    """Pairs that lost the start of the last turn."""

    @property
    def mean_response_tokens(self) -> float:
        """Return L̄, the mean number of tokens of an answer, over chosen and rejected ones."""
        return (self.chosen_tokens + self.rejected_tokens) / max(1, 2 * self.pairs)

    def as_dict(self) -> dict[str, int | float]:
        """Return the counts and the mean length of an answer by name."""
        return {**asdict(self), "mean_response_tokens": self.mean_response_tokens}


class TokenTable(Sequence[EncodedPair]):
    """Encoded pairs in an Arrow table; a pair is built when it is read, and no column is copied."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table = _with_later_columns(table)
        self._batches = [_Batch(batch) for batch in table.to_batches()]
        self._ends = np.cumsum([len(batch) for batch in self._batches]).tolist()

    @classmethod
    def of(cls, pairs: Sequence[EncodedPair]) -> TokenTable:
        """Return a table as it is, and other pairs as a table in memory."""
        if isinstance(pairs, cls):
            return pairs
        batch = record_batch(_SCHEMA, [_values(pair) for pair in pairs])
        return cls(pa.Table.from_batches([batch], _SCHEMA))

    @classmethod
    def write(cls, pairs: Iterable[EncodedPair], path: Path) -> TokenTable:
        """Write pairs to a file one by one and return the file as a table."""
        write_rows(path, _SCHEMA, map(_values, pairs))
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> TokenTable:
        """Map a file of encoded pairs into memory. Raises pyarrow.ArrowInvalid if it is no such file."""
        return cls(map_rows(path))

    @classmethod
    def concatenate(cls, tables: Iterable[TokenTable]) -> TokenTable:
        """Return the tables one after the other as one table, without copying them."""
        return cls(pa.concat_tables([each.table for each in tables]))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, index: int) -> EncodedPair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[EncodedPair]: ...
    def __getitem__(self, index: int | slice) -> EncodedPair | Sequence[EncodedPair]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[
            index
        ]  # counts a negative index from the end; raises IndexError
        number = bisect_right(self._ends, position)
        batch = self._batches[number]
        return batch.pair(position - self._ends[number] + len(batch))

    def __iter__(self) -> Iterator[EncodedPair]:
        return (batch.pair(i) for batch in self._batches for i in range(len(batch)))

    @cached_property
    def ids(self) -> list[str]:
        """Return the id of every pair."""
        return list(self.table["id"].to_pylist())

    def column(self, name: str) -> npt.NDArray[np.int32]:
        """Return a column of numbers, shape (pairs,)."""
        return np.asarray(self.table[name].to_numpy())

    def labels(self, name: str) -> list[str | None]:
        """Return the label `source` or `category` of every pair."""
        return list(self.table[name].to_pylist())

    @cached_property
    def lengths(self) -> dict[str, Counts]:
        """Return the tokens of each part, by part, each of shape (pairs,)."""
        return {
            part: pc.list_value_length(self.table[part]).to_numpy().astype(np.int64)
            for part in PARTS
        }

    @cached_property
    def tokens(self) -> Counts:
        """Return the tokens of each pair in a packed row, shape (pairs,)."""
        total: Counts = sum(self.lengths.values(), np.zeros(len(self), np.int64))
        return total

    @cached_property
    def sequence_lengths(self) -> Counts:
        """Return the tokens of prompt and longer answer of each pair, shape (pairs,)."""
        answers: Counts = np.maximum(self.lengths["chosen"], self.lengths["rejected"])
        return self.lengths["prompt"] + answers

    @cached_property
    def uncut_lengths(self) -> dict[str, Counts]:
        """Return the tokens that each part had before truncation, by part, each of shape (pairs,)."""
        cut_chosen = self.column("cut_chosen")
        removed = {
            "prompt": self.column("cut_prompt"),
            "chosen": cut_chosen,
            "rejected": self.column("cut_answers") - cut_chosen,
        }
        return {part: self.lengths[part] + removed[part] for part in PARTS}

    @cached_property
    def cut(self) -> npt.NDArray[np.bool_]:
        """Return whether truncation removed tokens of each pair, shape (pairs,)."""
        cut: npt.NDArray[np.bool_] = (self.column("cut_prompt") > 0) | (
            self.column("cut_answers") > 0
        )
        return cut

    @cached_property
    def distinct(self) -> npt.NDArray[np.bool_]:
        """Return whether the answers of each pair differ, shape (pairs,)."""
        same_length = self.lengths["chosen"] == self.lengths["rejected"]
        distinct = np.ones(len(self), dtype=bool)
        for index in np.flatnonzero(same_length):
            distinct[index] = self[int(index)].distinct
        return distinct

    def fingerprint(self) -> str:
        """Return the SHA-256 of ids and tokens in order, on which a reference pass depends."""
        digest = hashlib.sha256()
        for batch in self.table.select(["id"]).to_batches():
            digest.update("\n".join([*batch.column(0).to_pylist(), ""]).encode())
        for part in PARTS:
            digest.update(self.lengths[part].tobytes())
            for batch in self._batches:
                digest.update(batch.values(part).tobytes())
        return digest.hexdigest()


class _Batch:
    """Views of the columns of one record batch."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def values(self, part: str) -> npt.NDArray[np.int32]:
        """Return all token ids of a part, pair after pair."""
        return np.asarray(self.batch.column(part).flatten().to_numpy())

    @cached_property
    def _columns(self) -> dict[str, pa.Array]:
        return {name: self.batch.column(name) for name in _SCHEMA.names}

    @cached_property
    def _parts(self) -> dict[str, tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]]:
        """Return for each part its token ids and the offset at which each pair's begin."""
        return {part: (self.values(part), _offsets(self._columns[part])) for part in PARTS}

    def pair(self, index: int) -> EncodedPair:
        """Build the pair in a row of the batch."""
        ids: dict[str, Any] = {}
        for part, (values, offsets) in self._parts.items():
            ids[part] = tuple(values[offsets[index] : offsets[index + 1]].tolist())
        rest = {n: self._columns[n][index].as_py() for n in _SCHEMA.names if n not in PARTS}
        if rest["losses"]:
            rest["losses"] = [Loss(**each) for each in rest["losses"]]
        return EncodedPair(**ids, **{**rest, "losses": tuple(rest["losses"])})


def _offsets(column: pa.ListArray) -> npt.NDArray[np.int32]:
    offsets = np.asarray(column.offsets.to_numpy())
    from_zero: npt.NDArray[np.int32] = offsets - offsets[0]
    return from_zero


def token_counts(pairs: Sequence[EncodedPair]) -> Counts:
    """Return the tokens of each pair in a packed row, shape (pairs,), without building a table."""
    if isinstance(pairs, TokenTable):
        return pairs.tokens
    return np.array([pair.tokens for pair in pairs], dtype=np.int64)


def encoding_report(pairs: Sequence[EncodedPair]) -> EncodingReport:
    """Count what encoding did to the pairs of a split."""
    table = TokenTable.of(pairs)
    return EncodingReport(
        pairs=len(table),
        prompts_cut=int((table.column("cut_prompt") > 0).sum()),
        answers_cut=int((table.column("cut_answers") > 0).sum()),
        indistinct=int((~table.distinct).sum()),
        merged=int(pc.sum(table.table["merged"].cast(pa.int64())).as_py() or 0),
        with_special_words=int((table.column("special_words") > 0).sum()),
        **{f"{part}_tokens": int(table.lengths[part].sum()) for part in PARTS},
        turns_dropped=int((table.column("cut_turns") > 0).sum()),
        questions_cut=int((table.column("cut_question") > 0).sum()),
    )


def _values(pair: EncodedPair) -> list[object]:
    return [getattr(pair, name) for name in _SCHEMA.names]


_IDS = pa.list_(pa.int32())
_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        **dict.fromkeys(PARTS, _IDS),
        "cut_prompt": pa.int32(),
        "cut_answers": pa.int32(),
        "merged": pa.bool_(),
        "special_words": pa.int32(),
        "source": pa.string(),
        "category": pa.string(),
        "cut_chosen": pa.int32(),
        "cut_turns": pa.int32(),
        "cut_question": pa.int32(),
        "losses": pa.list_(pa.struct(dict.fromkeys(Loss._fields, pa.string()))),
        "weight": pa.float64(),
        "margin": pa.float64(),
    }
)


def _with_later_columns(table: pa.Table) -> pa.Table:
    """Return a table of an earlier version with the usual values in the columns it does not have."""
    for field in _SCHEMA:
        if field.name not in table.column_names:
            usual: object = getattr(EncodedPair, field.name)
            column = pa.array([usual] * table.num_rows, field.type)
            table = table.append_column(field, column)
    return table
