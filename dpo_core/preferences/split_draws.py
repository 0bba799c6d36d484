"""The split of each cluster of prompts, drawn by its name, within the most pairs of a split.

A split takes its clusters by their draws, the least first, as far as they fit. So clusters that are
added displace at most those with the largest draws, and the order of the rows counts for nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

_FULL = 0.9
"""The share of its pairs from which a split takes no further cluster that is not the next one."""


@dataclass(frozen=True)
class DrawnSplits:
    """The split of each cluster, and what went to train for its size alone."""

    split: Mapping[str, str]
    over_limit: Mapping[str, int]
    """Pairs that were drawn for a split and are beyond its most pairs, by that split."""


@dataclass(frozen=True)
class SplitDraws:
    """Settings by which clusters are drawn."""

    seed: int
    fractions: Mapping[str, float]
    """The parts of [0, 1) of `final` and `select`."""
    drawn: Collection[str]
    """Splits that take clusters. Those with a file of their own leave their part to train, so that no
    other part moves."""
    most_pairs: Mapping[str, int] = field(default_factory=dict)

    def of(self, clusters: Mapping[str, int], bound: Mapping[str, int]) -> DrawnSplits:
        """Draw the split of every cluster.

        Args:
            clusters: The number of pairs of each, by its name.
            bound: The number of pairs that a split has in any case.

        Returns:
            The splits.
        """
        draws = {name: group_draw(self.seed, name) for name in clusters}
        splits = {name: self._split_of(draw) for name, draw in draws.items()}
        over_limit: dict[str, int] = {}
        for split, most in self.most_pairs.items():
            members = {name: clusters[name] for name in clusters if splits[name] == split}
            room = max(0, most - bound.get(split, 0))
            if sum(members.values()) <= room:
                continue
            kept = _as_many_as_fit(dict(sorted(members.items(), key=lambda m: draws[m[0]])), room)
            beyond = members.keys() - kept
            splits |= dict.fromkeys(beyond, "train")
            over_limit[split] = sum(members[name] for name in beyond)
        return DrawnSplits(splits, over_limit)

    def _split_of(self, draw: float) -> str:
        """Return the split in whose part of [0, 1) the draw falls."""
        end = 0.0
        for name in ("final", "select"):
            end += self.fractions[name]
            if draw < end:
                return name if name in self.drawn else "train"
        return "train"


def _as_many_as_fit(members: Mapping[str, int], room: int) -> set[str]:
    """Return the first clusters, in their order, whose pairs fit.

    A large one that does not fit is left out as long as the split is not nearly full: otherwise it would
    keep the split small.
    """
    kept: set[str] = set()
    filled = 0
    for name, pairs in members.items():
        if filled + pairs <= room:
            kept.add(name)
            filled += pairs
        elif filled >= _FULL * room:
            break
    return kept


def group_draw(seed: int, group: str) -> float:
    """Return a number in [0, 1) that depends on seed and group alone."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    # A float holds 53 bits exactly; more could round up to 1.0.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
