"""Splits by prompt group: `train` to learn, `select` to choose a candidate, `final` to report once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dpo_core.errors import DataError, SettingsError
from dpo_core.preferences.near_duplicates import MIN_SIMILARITY, Sketches
from dpo_core.preferences.pairs import PreferencePair, normalized_question, question_id, to_row
from dpo_core.preferences.prompt_splits import LEFT_OUT, assign_prompts
from dpo_core.preferences.split_draws import SplitDraws
from dpo_core.preferences.table import PairTable

SPLITS = ("train", "select", "final")


@dataclass(frozen=True)
class PreferenceSplits:
    """Pairs of the three splits in the order they were read; no prompt group is in two splits."""

    train: Sequence[PreferencePair]
    select: Sequence[PreferencePair]
    final: Sequence[PreferencePair]
    left_out: Sequence[PreferencePair] = ()
    """Pairs that are in no split, because their prompts are nearly those of two splits."""
    over_limit: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    """How many pairs are in train because the split they were drawn for is full, by that split."""


def split_pairs(
    pairs: Sequence[PreferencePair],
    *,
    seed: int,
    select_fraction: float,
    final_fraction: float,
    most_pairs: Mapping[str, int] = {},
    fixed_splits: Mapping[str, Sequence[PreferencePair]] | None = None,
    kept: Mapping[str, str] = {},
    min_similarity: float = MIN_SIMILARITY,
) -> PreferenceSplits:
    """Assign prompt groups to the splits: prompts that are nearly the same, directly or by others.

    The split of a group depends on its prompts and `seed` alone, as long as it is not full. So the order
    of the pairs moves none, and pairs that are added or removed move only those of groups that they join
    or divide, and the groups with the largest draws of a split that becomes full.

    Args:
        pairs: The pairs to split.
        seed: Another seed gives another assignment.
        select_fraction: The fraction of groups in `select`, above 0 and below 1; the numbers of
            groups match it only about.
        final_fraction: The fraction of groups in `final`, likewise.
        most_pairs: The most pairs of `select` and `final`, where there is one; groups beyond it are in
            `train`. Prompts that are kept in final stay there even so.
        fixed_splits: Splits that are used as they are, by name. Pairs whose prompts are nearly the
            same as theirs are left out.
        kept: Splits of prompts by their `question_id`: `final` where they were in a final split that
            was opened before, `train` where the incumbent was trained on them. Their pairs are in that
            split, or left out where it is fixed. A pair that would join their group with one of
            another split is left out.
        min_similarity: Jaccard similarity from which prompts are nearly the same, at least 0.7.

    Returns:
        The pairs of each split, each with its prompt group.

    Raises:
        SettingsError: A fraction is not between 0 and 1, or the fractions leave no training pairs.
        DataError: A split is empty.
    """
    fixed = {name: PairTable.of(part) for name, part in (fixed_splits or {}).items()}
    every = {"select": select_fraction, "final": final_fraction}
    fractions = {name: fraction for name, fraction in every.items() if name not in fixed}
    _check_fractions(fractions)
    table = PairTable.of(pairs)
    names, sketches, bound = _sketch_prompts([*fixed.values(), table], min_similarity, kept)
    bound |= {group: name for name, part in fixed.items() for group in part.groups.names}
    limits = {name: most for name, most in most_pairs.items() if name in fractions}
    prompts = assign_prompts(
        names,
        sketches,
        bound,
        {"train", *fractions},
        SplitDraws(seed, every, fractions, limits).of,
        dict(zip(table.groups.names, table.groups.sizes.tolist(), strict=True)),
    )
    of_group = [prompts.split[group] for group in table.groups.names]
    of_group = [name if name in {"train", *fractions} else LEFT_OUT for name in of_group]
    of_pair = np.array(of_group, dtype=str)[table.groups.of_pair]
    parts = {name: table.take(np.flatnonzero(of_pair == name)) for name in (*SPLITS, LEFT_OUT)}
    parts |= fixed
    parts = {name: part.with_groups(prompts.cluster) for name, part in parts.items()}
    left_out = parts.pop(LEFT_OUT)
    empty = next((name for name, part in parts.items() if not len(part)), None)
    if empty is not None:
        groups = {name: len(part.groups.names) for name, part in parts.items() if name not in fixed}
        is_joined = len(set(prompts.cluster.values())) < len(prompts.cluster)
        joined = min_similarity if is_joined else None
        raise DataError(_empty_split(empty, fractions, groups, joined, len(left_out)))
    return PreferenceSplits(**parts, left_out=left_out, over_limit=prompts.over_limit)


def _sketch_prompts(
    tables: Iterable[PairTable], min_similarity: float, kept: Mapping[str, str]
) -> tuple[list[str], Sketches, dict[str, str]]:
    """Sketch each prompt group, as it was read, once; the questions' texts go by one at a time.

    Args:
        tables: All pairs.
        min_similarity: Jaccard similarity from which prompts are nearly the same.
        kept: Splits of prompts by their `question_id`.

    Returns:
        The groups' names; their sketches; and the split of those groups that keep it, by name.
    """
    names: list[str] = []
    bound: dict[str, str] = {}

    def questions() -> Iterator[str]:
        seen: set[str] = set()
        for table in tables:
            for group, prompt in table.take(table.groups.first).prompts():
                if group in seen:
                    continue
                seen.add(group)
                names.append(group)
                question = normalized_question(prompt)
                split = kept.get(question_id(question)) if kept else None
                if split is not None:
                    bound[group] = split
                yield question

    return names, Sketches.of(questions(), min_similarity), bound


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


def _empty_split(
    name: str,
    fractions: Mapping[str, float],
    groups: Mapping[str, int],
    joined: float | None,
    left_out: int,
) -> str:
    """Return why a split is empty, with the ways out that can help.

    Args:
        name: The split.
        fractions: The fraction of each split that is drawn.
        groups: The prompt groups of train and of each split that is drawn.
        joined: The similarity from which prompts were joined, if any were.
        left_out: How many pairs are in no split.

    Returns:
        The message.
    """
    count = sum(groups.values())
    noun = "1 prompt group" if count == 1 else f"{count} prompt groups"
    if joined is not None:
        noun += f" (prompts that are nearly the same by data.min_similarity: {joined:g} are one)"
    ways = ["add pairs of other prompts"]
    if joined is not None and joined < 1:
        ways.append("give a larger data.min_similarity")
    if count < len(groups) or not fractions:
        # No draw can fill so many splits.
        need = f"{len(groups)} splits need as many" if fractions else "train needs one"
        there = "there is" if count == 1 else "there are"
        message = f"split {name!r} is empty: {there} {noun}, and {need}"
        ways[0] += ", here or as data.select_path and data.final_path" if fractions else ""
    else:
        fraction = fractions.get(name, 1 - sum(fractions.values()))
        # n groups all miss a split of fraction f with probability (1 - f)^n; below 1 % is enough.
        needed = max(3, math.ceil(math.log(0.01) / math.log1p(-fraction)))
        missing = f", {needed - count} more than there are" if needed > count else ""
        message = (
            f"split {name!r} is empty: none of {noun} fell into its fraction {fraction:g}, which "
            f"takes about {needed} groups{missing}"
        )
        other = (
            "smaller fractions to the others" if name == "train" else f"a larger {name}_fraction"
        )
        ways += [f"give {other}", "try another seed"]
    *first, last = ways
    text = f"{message}; {', '.join(first)}, or {last}" if first else f"{message}; {last}"
    return text + (_MANY_LEFT_OUT.format(left_out) if left_out else "")


_MANY_LEFT_OUT = (
    "; {} pairs are left out, whose prompts are nearly those of a split that was read from its own "
    "file, or of a final split that was opened before"
)


def split_lines(pairs: Iterable[PreferencePair]) -> Iterator[bytes]:
    """Yield a split as lines of JSON that `load_pairs` reads back, with the same ids."""
    return (f"{json.dumps(to_row(pair), ensure_ascii=False)}\n".encode() for pair in pairs)
