"""Bad rows become one error that tells how many there are, or are left out."""

from __future__ import annotations

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences.notes.bad_rows import BadRows, SourceBadRows


def bad(count: int, *, skip: bool = False) -> BadRows:
    rows = BadRows(skip)
    for n in range(1, count + 1):
        rows.add(DataError(f"file:{n}: bad"))
    return rows


def refusal(rows: BadRows) -> str:
    with pytest.raises(DataError) as error:
        rows.refuse()
    return str(error.value)


def test_one_error_tells_how_many_and_the_first_five() -> None:
    assert refusal(bad(1)) == (
        "file:1: bad; 1 bad row in all; correct it, or leave it out with data.on_bad_row: skip"
    )
    assert refusal(bad(2)) == (
        "file:1: bad; 2 bad rows in all, the next: file:2: bad; correct them, or leave them out with "
        "data.on_bad_row: skip"
    )
    assert "file:5: bad; and 1,195 more; correct" in refusal(bad(1200))
    assert "file:6" not in refusal(bad(1200))


def test_rows_that_are_left_out_are_all_kept() -> None:
    rows = bad(12, skip=True)
    assert not rows.refused
    rows.refuse()
    assert len(rows.reasons) == rows.count == 12


def test_a_source_that_begins_with_bad_rows_alone_is_not_read_to_its_end() -> None:
    source = SourceBadRows("file", BadRows(skip=False))
    for n in range(1, 1000):
        source.add(DataError(f"file:{n}: no prompt"))
    with pytest.raises(DataError, match="file:1: no prompt; none of the first 1,000 rows of file"):
        source.add(DataError("file:1000: no prompt"))


def test_a_source_whose_bad_rows_are_left_out_is_read_to_its_end() -> None:
    source = SourceBadRows("file", BadRows(skip=True))
    for n in range(2000):
        source.add(DataError(f"file:{n}: no prompt"))
    with pytest.raises(DataError, match="every row of file is bad, 2,000 in all"):
        source.refuse_if_all_bad()


def test_a_good_row_is_reason_enough_to_read_on() -> None:
    source = SourceBadRows("file", BadRows(skip=False))
    source.any_good = True
    for n in range(2000):
        source.add(DataError(f"file:{n}: no prompt"))
    source.refuse_if_all_bad()
    assert source.all.count == 2000
