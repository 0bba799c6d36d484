"""Optuna's samplers, and the points with which every search begins.

Tested in tests/unit/sweeps/search/test_next_point.py.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from scipy.stats import qmc

from search_spaces import Axis, Choice, LogUniform, Space
from search_spaces.axes import Scalar
from sweeps.run_dir.json_types import Point

# Branches make TPE sample by groups, which Optuna calls experimental; each draw has a study.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
# Its warnings are about speed: of a package that draws faster, or of a fit that is tried again.
optuna.logging.set_verbosity(optuna.logging.ERROR)

_FEWEST, _MOST = 4, 8


def make_sampler(
    kind: str, space: Space, seed: int, trials: int = 0
) -> optuna.samplers.BaseSampler:
    """Build a seeded sampler that learns from every trial of its study.

    Args:
        kind: `tpe`, `gp`, `nsga2` or `random`.
        space: Where points are drawn.
        seed: The same seed and study draw the same point; in [0, 2³²).
        trials: The length of the search.

    Returns:
        Optuna's sampler.
    """
    if kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if kind == "gp":
        return optuna.samplers.GPSampler(
            seed=seed,
            n_startup_trials=0,
            deterministic_objective=False,
            warn_independent_sampling=False,
        )
    if kind == "nsga2":
        # Optuna's 50 would leave a sweep of fewer trials no second generation.
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, trials // 5))
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=space.is_conditional, n_startup_trials=0
    )


def starting_points(trials: int) -> int:
    """Return how many trials must have ended before a model of their accuracies chooses points.

    A model of fewer follows noise; half of a search must be left for it.
    """
    return min(_MOST, max(_FEWEST, trials // 2))


def starting_point(space: Space, seed: int, number: int) -> Point:
    """Return a point of a sequence that fills the space more evenly than random points do.

    The sequence is Sobol's, scrambled by the seed (Owen 1997): of each axis, and of the axes
    together, its first points come from different parts.

    Args:
        space: Where the point lies.
        seed: Names the sequence.
        number: Which point of the sequence, from 0.

    Returns:
        The point.
    """
    keys = list(space.axis_of_keys())
    sequence = qmc.Sobol(len(keys), rng=np.random.default_rng(seed))
    if number:
        sequence.fast_forward(number)
    shares: Sequence[float] = sequence.random(1)[0].tolist()
    share_of = dict(zip(keys, shares, strict=True))
    return space.sample(lambda key, axis: value_at(axis, share_of[key]))


def value_at(axis: Axis, share: float) -> Scalar:
    """Return the value of an axis below which a share of it lies; the share is in [0, 1)."""
    if isinstance(axis, Choice):
        return axis.values[int(share * len(axis.values))]
    if isinstance(axis, LogUniform):
        value = math.exp(math.log(axis.low) + share * math.log(axis.high / axis.low))
    else:
        value = axis.low + share * (axis.high - axis.low)
    return min(max(value, axis.low), axis.high)
