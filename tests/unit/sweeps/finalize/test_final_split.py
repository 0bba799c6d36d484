"""The final split is opened once, and what it was opened for is on record."""

from __future__ import annotations

import pytest

from dpo_core.storage.store import Store
from sweeps.finalize.final_split import FinalSpent, open_final, read_openings


def test_final_is_opened_once_and_the_record_says_when_and_for_whom(tmp_path) -> None:
    store = Store.open(tmp_path)
    open_final(store, "final_opened.json", "t0001 at step 8", "2026-01-01T00:00:00+00:00")
    open_final(store, "final_opened.json", "t0001 at step 8", "2026-01-02T00:00:00+00:00")
    [first] = read_openings(store, "final_opened.json")
    assert vars(first) == {
        "when": "2026-01-01T00:00:00+00:00",
        "why": "t0001 at step 8",
        "forced": False,
    }
    with pytest.raises(FinalSpent, match=r"was opened on 2026-01-01.* needs .*--open-final-again"):
        open_final(store, "final_opened.json", "t0002 at step 4", "2026-01-03T00:00:00+00:00")
    assert read_openings(store, "final_opened.json") == [first]
    open_final(store, "final_opened.json", "t0002 at step 4", "2026-01-03", force=True)
    assert [o.forced for o in read_openings(store, "final_opened.json")] == [False, True]
