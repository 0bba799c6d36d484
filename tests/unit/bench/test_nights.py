"""Thirty nights seldom promote a model that is no better, and what their verdicts can still show."""

from __future__ import annotations

from sweeps.finalize.final_split import NIGHTS
from tests.bench.nights import share_promoted, share_shown


def test_thirty_nights_promote_a_model_that_is_no_better_in_at_most_5_percent() -> None:
    repetitions = 300  # one standard error is 1.3 points at 5 %
    assert share_promoted(NIGHTS, repetitions) <= 0.05
    assert share_promoted(1, repetitions) > 0.2, "nobody pays, as it was"


def test_the_price_is_power_and_more_pairs_restore_it() -> None:
    for_one, for_thirty = share_shown(200, 1, 500), share_shown(200, NIGHTS, 500)
    assert 0.5 < for_one < 0.7
    assert 0.1 < for_thirty < 0.3
    assert share_shown(600, NIGHTS, 500) > for_one
