"""Splits by prompt group: `train` to learn, `select` to choose a candidate, `final` to report once."""

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
    """Pairs of the three splits in the order they were read; no prompt group is in two splits."""

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
    """Assign prompt groups to the splits.

    The split of a group depends on the group and `seed` alone. A group whose question is nearly the
    same as that of an earlier group goes where that group goes. So near duplicates stay together,
    and pairs that are appended later move no earlier pair.

    Args:
        pairs: The pairs to split.
        seed: Another seed gives another assignment.
        select_fraction: The fraction of groups in `select`, above 0 and below 1; the numbers of
            groups match it only about.
        final_fraction: The fraction of groups in `final`, likewise.
        fixed_splits: Splits that are used as they are, by name; no group is assigned to them.

    Returns:
        The pairs of each split.

    Raises:
        SettingsError: A fraction is not between 0 and 1, or the fractions leave no training pairs.
        DataError: A split is empty.
    """
    fixed_splits = fixed_splits or {}
    fractions = {"select": select_fraction, "final": final_fraction}
    fractions = {name: f for name, f in fractions.items() if name not in fixed_splits}
    _check_fractions(fractions)
    table = PairTable.of(pairs)
    groups = table.groups
    questions = (first_question(pair.prompt) for pair in table.take(groups.first))
    draws = (group_draw(seed, groups.names[i]) for i in representatives(questions))
    assigned = np.array([_split_of(draw, fractions) for draw in draws], dtype=str)
    of_pair = assigned[groups.of_pair]
    parts = {name: table.take(np.flatnonzero(of_pair == name)) for name in SPLITS}
    parts |= {name: PairTable.of(part) for name, part in fixed_splits.items()}
    _check_none_empty(parts, len(groups.names), fractions)
    return PreferenceSplits(**parts)


def group_draw(seed: int, group: str) -> float:
    """Return a number in [0, 1) that depends on seed and group alone."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    # A float holds 53 bits exactly; more could round up to 1.0.
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
    # n groups all miss a split of fraction f with probability (1 - f)^n; below 1 % is enough.
    needed = max(3, math.ceil(math.log(0.01) / math.log1p(-fraction)))
    missing = f", {needed - groups} more than there are" if needed > groups else ""
    change = "smaller fractions to the others" if name == "train" else f"a larger {name}_fraction"
    return (
        f"split {name!r} is empty: none of {groups} prompt groups fell into its fraction "
        f"{fraction:g}, which takes about {needed} groups{missing}; add data, give {change}, "
        "or try another seed"
    )


def split_lines(pairs: Iterable[PreferencePair]) -> Iterator[bytes]:
    """Yield a split as lines of JSON that `load_pairs` reads back, with the same ids."""
    return (f"{json.dumps(to_row(pair), ensure_ascii=False)}\n".encode() for pair in pairs)
