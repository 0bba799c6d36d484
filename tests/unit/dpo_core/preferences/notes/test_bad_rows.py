"""Bad rows become one error that tells how many there are, or are left out."""

from __future__ import annotations

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences.notes.bad_rows import BadRows, SourceBadRows


def bad(count: int, *, skip: bool = False) -> BadRows:
    rows = BadRows(skip)
    for n in range(1, count + 1):
        rows.add(DataError(f"file:{n}: bad" if n != 2 else "file:2: worse"))
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
        "file:1: bad; 2 bad rows in all, the next: file:2: worse; correct them, or leave them out with "
        "data.on_bad_row: skip"
    )
    assert refusal(bad(1200)).startswith(
        "file:1: bad; 1,200 bad rows in all (rows 3, 4, 5 alike), the next: file:2: worse; and 1,195 "
        "more; correct"
    )


def test_a_reason_is_told_once_with_its_rows() -> None:
    rows = BadRows(skip=False)
    for n, words in enumerate(("has 49 tokens of 16", "is no pair", "has 7 tokens of 16"), 1):
        rows.add(DataError(f"a:b/file.jsonl:{n}: {words}"))
    rows.add(DataError("other.jsonl:2: has 49 tokens of 16"))
    rows.add(DataError("other.jsonl:8: has 50 tokens of 16"))
    assert refusal(rows) == (
        "a:b/file.jsonl:1: has 49 tokens of 16; 5 bad rows in all (row 3 alike), the next: "
        "a:b/file.jsonl:2: is no pair; other.jsonl:2: has 49 tokens of 16 (row 8 alike); correct "
        "them, or leave them out with data.on_bad_row: skip"
    )


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
