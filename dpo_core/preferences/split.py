"""Three splits by prompt group: train to learn from, select to choose by, final to report once."""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo_core.errors import DataError, SettingsError
from dpo_core.preferences.pairs import PreferencePair, to_row
from dpo_core.preferences.readers import read_jsonl
from dpo_core.preferences.rows import from_row

SPLITS = ("train", "select", "final")


@dataclass(frozen=True)
class PreferenceSplits:
    """Pairs in the order they were read; no prompt group is in two of the three."""

    train: tuple[PreferencePair, ...]
    select: tuple[PreferencePair, ...]
    final: tuple[PreferencePair, ...]


def split_pairs(
    pairs: Sequence[PreferencePair], *, seed: int, select_fraction: float, final_fraction: float
) -> PreferenceSplits:
    """Deal prompt groups out to the splits, in about these fractions of the groups.

    Where a group goes depends on it and on `seed` alone, so new rows move no old pair.
    Raises SettingsError for fractions that are none, DataError if a split stays empty.
    """
    _check_fractions(select_fraction, final_fraction)
    parts: dict[str, list[PreferencePair]] = {name: [] for name in SPLITS}
    for pair in pairs:
        draw = group_draw(seed, pair.group)
        parts[_split_of(draw, select_fraction, final_fraction)].append(pair)
    _check_none_empty(parts, select_fraction, final_fraction)
    return PreferenceSplits(**{name: tuple(part) for name, part in parts.items()})


def group_draw(seed: int, group: str) -> float:
    """A number in [0, 1) that is a pure function of seed and group."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    # 53 bits are what a float holds exactly: more could round up to 1.0.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _split_of(draw: float, select_fraction: float, final_fraction: float) -> str:
    if draw < final_fraction:
        return "final"
    return "select" if draw < final_fraction + select_fraction else "train"


def _check_fractions(select_fraction: float, final_fraction: float) -> None:
    for name, value in (("select_fraction", select_fraction), ("final_fraction", final_fraction)):
        if not 0 < value < 1:
            raise SettingsError(f"{name}: {value} must be between 0 and 1; 0.2 is a good start")
    total = select_fraction + final_fraction
    if total >= 1:
        raise SettingsError(
            f"select_fraction + final_fraction = {total:g} leaves nothing to train on; "
            "keep the sum below 1"
        )


def _check_none_empty(
    parts: dict[str, list[PreferencePair]], select_fraction: float, final_fraction: float
) -> None:
    groups = len({pair.group for part in parts.values() for pair in part})
    fractions = {
        "train": 1 - select_fraction - final_fraction,
        "select": select_fraction,
        "final": final_fraction,
    }
    for name, part in parts.items():
        if not part:
            raise DataError(_empty_split(name, fractions[name], groups))


def _empty_split(name: str, fraction: float, groups: int) -> str:
    # The chance that n groups all miss a split of fraction f is (1 - f)^n; below 1 % will do.
    needed = max(3, math.ceil(math.log(0.01) / math.log1p(-fraction)))
    change = "smaller fractions to the others" if name == "train" else f"a larger {name}_fraction"
    return (
        f"split {name!r} is empty: none of {groups} prompt groups fell into its fraction "
        f"{fraction:g}, which takes about {needed} groups; add data, give {change}, "
        "or try another seed"
    )


def write_splits(splits: PreferenceSplits, folder: Path) -> None:
    """Write {train,select,final}.jsonl, each aside first and then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SPLITS:
        _write_aside(folder / f"{name}.jsonl", getattr(splits, name))


def _write_aside(path: Path, pairs: Iterable[PreferencePair]) -> None:
    # The name is unique, for two nodes may write to one shared folder.
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("w", encoding="utf-8", newline="\n") as file:
            for pair in pairs:
                file.write(json.dumps(to_row(pair), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_splits(folder: Path) -> PreferenceSplits:
    """Read what `write_splits` wrote. Raises DataError if it is incomplete, edited or mixed."""
    splits = PreferenceSplits(**{name: _read(folder / f"{name}.jsonl") for name in SPLITS})
    homes: dict[str, str] = {}
    for name in SPLITS:
        for pair in getattr(splits, name):
            if homes.setdefault(pair.group, name) != name:
                raise DataError(
                    f"{folder}: prompt group {pair.group} is in both {homes[pair.group]!r} and "
                    f"{name!r}; the files are of two different splits, so write them again"
                )
    return splits


def _read(path: Path) -> tuple[PreferencePair, ...]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; write the splits again")
    return tuple(from_row(row, where=where, line=line) for row, line, where in read_jsonl(path))
