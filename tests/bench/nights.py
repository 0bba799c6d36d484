"""How often thirty nights promote a model that is no better, and what a verdict can show that pays for
them: simulated scores on one final split, no sweep.

The winners of all nights are scored on the same pairs, whose difficulty they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from sweeps.finalize.final_split import NIGHTS
from sweeps.selection.statistics import Groups, compare
from sweeps.selection.verdict import BETTER, verdict_on_final
from tests.bench.selection import EQUAL, GAIN, PAIRS, draw_differences, likeness
from tests.bench.table import Row

REPETITIONS = 2_000
DECLARED = (1, 5, 10, NIGHTS)
INCUMBENT = EQUAL[3]
ACCURACY, DISCORDANCE = INCUMBENT.accuracy, 0.1


@dataclass(frozen=True)
class Nights:
    """Shares in [0, 1], by the number of openings that final was declared for."""

    promoted: dict[int, float]
    """Histories of thirty nights with a promotion, where no winner is better than the incumbent."""
    shown: dict[tuple[int, int], float]
    """Gains that are shown in a night, by pairs and openings."""

    def as_dict(self) -> dict[str, dict[str, float]]:
        shown = {f"{pairs} pairs, {n} openings": share for (pairs, n), share in self.shown.items()}
        return {"promoted": {f"{n}": share for n, share in self.promoted.items()}, "shown": shown}


def measure(repetitions: int = REPETITIONS) -> Nights:
    """Simulate histories and single nights."""
    return Nights(
        {declared: share_promoted(declared, repetitions) for declared in (1, NIGHTS)},
        {
            (pairs, declared): share_shown(pairs, declared, repetitions)
            for pairs in (PAIRS, 2 * PAIRS, 3 * PAIRS)
            for declared in DECLARED
        },
    )


def share_promoted(declared: int, repetitions: int, seed: int = 0) -> float:
    """Simulate histories in which every night's winner is as good as the incumbent."""
    rng = np.random.default_rng(seed)
    return float(np.mean([any(_better(_history(rng), declared)) for _ in range(repetitions)]))


def share_shown(pairs: int, declared: int, repetitions: int, seed: int = 1) -> float:
    """Simulate nights whose winner is better by `GAIN`."""
    rng = np.random.default_rng(seed)
    differences = draw_differences(rng, (1,) * pairs, 0.0, INCUMBENT, GAIN, repetitions)
    return float(np.mean(_better(differences, declared)))


def _history(rng: np.random.Generator) -> np.ndarray:
    """Each night's winner minus the incumbent on the same pairs, (nights, pairs)."""
    alike, limit = likeness(ACCURACY, 0.0, DISCORDANCE), stats.norm.ppf(ACCURACY)
    difficulty = rng.standard_normal(PAIRS)
    own = rng.standard_normal((NIGHTS, PAIRS))
    winners = np.sqrt(alike) * difficulty + np.sqrt(1 - alike) * own
    return (winners < limit) - (difficulty < limit).astype(float)


def _better(differences: np.ndarray, declared: int) -> Sequence[bool]:
    pairs = differences.shape[1]
    comparisons = compare(differences, Groups(np.arange(pairs, dtype=np.int64)))
    verdicts = (verdict_on_final(c, "", pairs, "", declared) for c in comparisons)
    return [verdict.word == BETTER for verdict in verdicts]


def rows(found: Nights) -> list[Row]:
    """Each share, against its goal where there is one."""
    nights = f"nights: {NIGHTS} of them promote a model that is no better"
    gain = f"nights: better by {100 * GAIN:.0f} points at 10 % discordance, shown:"
    return [
        Row(f"{nights}, declared for 1", 100 * found.promoted[1], unit="%"),
        Row(
            f"{nights}, declared for {NIGHTS}",
            100 * found.promoted[NIGHTS],
            unit="%",
            sign="<=",
            goal=5,
            of="ours",
        ),
        *(
            Row(f"{gain} {pairs} pairs, openings declared: {declared}", 100 * share, unit="%")
            for (pairs, declared), share in found.shown.items()
        ),
    ]
