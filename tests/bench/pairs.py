"""Exactly so many pairs of each split, out of a file that has more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dpo_core.errors import DataError
from dpo_core.preferences import PreferencePair, to_row
from dpo_core.preferences.split import split_pairs

FRACTION = 0.2  # of select and of final, as the sweep's default has it
WANTED = {"train": 96, "select": 32, "final": 32}
_SEEDS = 100


def pick(
    pairs: Sequence[PreferencePair], wanted: dict[str, int], most_characters: int = 3000
) -> tuple[list[PreferencePair], int]:
    """Pairs in file order, and the sweep's seed with which they fall into splits of these sizes.

    Longer pairs are left out: the two sides would truncate them differently. Raises ValueError.
    """
    short = [pair for pair in pairs if _characters(pair) <= most_characters]
    for seed in range(_SEEDS):
        parts = _split(short, seed)
        kept = {pair.id for name, count in wanted.items() for pair in parts[name][:count]}
        picked = [pair for pair in short if pair.id in kept]
        # Prompts that are left out may have joined others, which then go elsewhere.
        if _sizes(_split(picked, seed)) == wanted:
            return picked, seed
    raise ValueError(f"{len(short)} pairs cannot be dealt out as {wanted}; give a larger file")


def _split(pairs: Sequence[PreferencePair], seed: int) -> dict[str, Sequence[PreferencePair]]:
    try:
        splits = split_pairs(pairs, seed=seed, select_fraction=FRACTION, final_fraction=FRACTION)
    except DataError:  # one split stays empty
        return dict.fromkeys(WANTED, ())
    return {name: getattr(splits, name) for name in WANTED}


def _sizes(parts: dict[str, Sequence[PreferencePair]]) -> dict[str, int]:
    return {name: len(part) for name, part in parts.items()}


def write(pairs: Sequence[PreferencePair], file: Path) -> Path:
    lines = (json.dumps(to_row(pair), ensure_ascii=False) + "\n" for pair in pairs)
    file.write_text("".join(lines), encoding="utf-8")
    return file


def _characters(pair: PreferencePair) -> int:
    """Of the prompt and the longer answer."""
    prompt, chosen, rejected = map(_length, (pair.prompt, pair.chosen, pair.rejected))
    return prompt + max(chosen, rejected)


def _length(side: object) -> int:
    if isinstance(side, str):
        return len(side)
    assert isinstance(side, Sequence)
    return sum(len(turn["content"]) for turn in side)
