"""The share of the margins that storing loses: nothing hides it."""

from __future__ import annotations

import numpy as np
import pytest

from sweeps.finalize.stored_margins import share_lost

CHOSEN = np.array([2.0, -1.0, 3.0, 2.0])


@pytest.mark.parametrize(
    ("stored", "lost"),
    [
        (CHOSEN, 0.0),
        (CHOSEN + 5e-5, 0.0),  # float32's noise
        (0.9 * CHOSEN, 0.1),
        (0.0 * CHOSEN, 1.0),
        (CHOSEN + np.array([0.2, -0.2, 0.2, -0.2]), 0.1),  # the mean stays
        (CHOSEN + 0.2, 0.1),  # every pair gains
        (-CHOSEN, 2.0),
    ],
)
def test_every_difference_of_a_pair_counts(stored: np.ndarray, lost: float) -> None:
    assert share_lost(CHOSEN, stored) == pytest.approx(lost, abs=1e-9)


def test_an_untouched_policy_loses_nothing_but_what_is_there() -> None:
    untouched = np.zeros(4)
    assert share_lost(untouched, untouched + 1e-5) == 0
    assert share_lost(untouched, untouched + 0.1) > 1
