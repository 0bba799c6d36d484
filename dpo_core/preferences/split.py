"""Three splits by prompt group: train to learn from, select to choose by, final to report once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpo_core.errors import DataError, SettingsError
from dpo_core.preferences.near_duplicates import first_question, representatives
from dpo_core.preferences.pairs import PreferencePair, to_row
from dpo_core.preferences.table import PairTable

SPLITS = ("train", "select", "final")


@dataclass(frozen=True)
class PreferenceSplits:
    """Pairs in the order they were read; no prompt group is in two of the three."""

    train: Sequence[PreferencePair]
    select: Sequence[PreferencePair]
    final: Sequence[PreferencePair]


def split_pairs(
    pairs: Sequence[PreferencePair],
    *,
    seed: int,
    select_fraction: float,
    final_fraction: float,
    fixed_splits: Mapping[str, Sequence[PreferencePair]] | None = None,
) -> PreferenceSplits:
    """Deal prompt groups out to the splits, in about these fractions of the groups.

    Where a group goes depends on it and on `seed` alone, or, where an earlier group asks nearly the
    same, on that one: so near duplicates stay together, and rows appended later move no old pair.
    Splits that are `fixed_splits` are taken as they are, and nothing is dealt out to them.
    Raises SettingsError for fractions that are none, DataError if a split stays empty.
    """
    fixed_splits = fixed_splits or {}
    fractions = {"select": select_fraction, "final": final_fraction}
    fractions = {name: f for name, f in fractions.items() if name not in fixed_splits}
    _check_fractions(fractions)
    table = PairTable.of(pairs)
    groups = table.groups
    questions = (first_question(pair.prompt) for pair in table.take(groups.first))
    draws = (group_draw(seed, groups.names[i]) for i in representatives(questions))
    homes = np.array([_split_of(draw, fractions) for draw in draws], dtype=str)
    of_pair = homes[groups.of_pair]
    parts = {name: table.take(np.flatnonzero(of_pair == name)) for name in SPLITS}
    parts |= {name: PairTable.of(part) for name, part in fixed_splits.items()}
    _check_none_empty(parts, len(groups.names), fractions)
    return PreferenceSplits(**parts)


def group_draw(seed: int, group: str) -> float:
    """A number in [0, 1) that is a pure function of seed and group."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    # 53 bits are what a float holds exactly: more could round up to 1.0.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _split_of(draw: float, fractions: Mapping[str, float]) -> str:
    end = 0.0
    for name in ("final", "select"):
        end += fractions.get(name, 0.0)
        if draw < end:
            return name
    return "train"


def _check_fractions(fractions: Mapping[str, float]) -> None:
    for name, value in fractions.items():
        if not 0 < value < 1:
            raise SettingsError(
                f"{name}_fraction: {value} must be between 0 and 1; 0.2 is a good start"
            )
    total = sum(fractions.values())
    if total >= 1:
        names = " + ".join(f"{name}_fraction" for name in fractions)
        raise SettingsError(f"{names} = {total:g} leaves nothing to train on; keep the sum below 1")


def _check_none_empty(
    parts: Mapping[str, PairTable], groups: int, fractions: Mapping[str, float]
) -> None:
    shares = {"train": 1 - sum(fractions.values()), **fractions}
    for name, part in parts.items():
        if not len(part):
            raise DataError(_empty_split(name, shares.get(name, 1.0), groups))


def _empty_split(name: str, fraction: float, groups: int) -> str:
    # The chance that n groups all miss a split of fraction f is (1 - f)^n; below 1 % will do.
    needed = max(3, math.ceil(math.log(0.01) / math.log1p(-fraction)))
    missing = f", {needed - groups} more than there are" if needed > groups else ""
    change = "smaller fractions to the others" if name == "train" else f"a larger {name}_fraction"
    return (
        f"split {name!r} is empty: none of {groups} prompt groups fell into its fraction "
        f"{fraction:g}, which takes about {needed} groups{missing}; add data, give {change}, "
        "or try another seed"
    )


def split_lines(pairs: Iterable[PreferencePair]) -> Iterator[bytes]:
    """A split as the lines of JSON that `load_pairs` reads back, with the same ids."""
    return (f"{json.dumps(to_row(pair), ensure_ascii=False)}\n".encode() for pair in pairs)
