"""What makes no pair is counted, with the first few places."""

from __future__ import annotations

from dpo_core.preferences.notes.no_pair import TIES, NoPairCounts


def test_counts_and_places() -> None:
    counts = NoPairCounts()
    for line in range(1, 8):
        counts.add(TIES, f"file:{line}", 1000)
    counts.add("votes for neither", "file:9")
    counts.add("responses", "file:10", 0)
    assert str(counts) == "7,000 ties, 1 votes for neither"
    assert counts.places[TIES] == [f"file:{line}" for line in range(1, 6)]
    assert "responses" not in counts.places
