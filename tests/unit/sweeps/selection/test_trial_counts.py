"""One count of a sweep's trials, and how it is said."""

from __future__ import annotations

from sweeps.selection.trial_counts import count_trials, trials_in_words
from tests.support.records import trial


def test_trials_of_the_search_and_of_the_confirmation_are_counted_apart() -> None:
    records = [
        trial("t0000"),
        trial("t0001", status="failed"),
        trial("t0000-s1", confirms="t0000"),
        trial("t0000-s2", confirms="t0000", status="failed"),
        trial("t0002", status="stopped"),
    ]
    counts = count_trials(records)
    assert counts == {"search": 3, "confirmation": 2, "failed": 2}
    assert trials_in_words(**counts) == (
        "5 trials: 3 of the search and 2 of the confirmation, 2 failed"
    )
    assert count_trials([]) == {"search": 0, "confirmation": 0, "failed": 0}


def test_a_search_alone_is_said_in_short() -> None:
    assert trials_in_words(1, 0) == "1 trial"
    assert trials_in_words(8, 0, 1) == "8 trials, 1 failed"
