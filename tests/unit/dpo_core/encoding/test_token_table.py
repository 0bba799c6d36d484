"""Encoded pairs as a table: the same pairs as in a list, without holding them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpo_core.encoding.packing import pack
from dpo_core.encoding.token_table import EncodedPair, TokenTable, encoding_report, token_counts
from dpo_core.storage.arrow_files import BATCH_ROWS
from tests.support.toys import toy_encoded

MANY = [
    replace(pair, id=f"{i}", source="ours" if i % 2 else None, special_words=i % 3)
    for i, pair in enumerate(toy_encoded(7) * (BATCH_ROWS // 7 + 2))
]
SAME = EncodedPair("same", (1,), (2, 3), (2, 3), cut_prompt=1, merged=True)


@pytest.fixture(params=["in memory", "mapped"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> TokenTable:
    if request.param == "mapped":
        return TokenTable.write(iter(MANY), tmp_path / "tokens.arrow")
    return TokenTable.of(MANY)


def test_a_table_is_the_sequence_of_its_pairs(table: TokenTable) -> None:
    assert len(MANY) > BATCH_ROWS  # more than one batch of the file
    assert list(table) == MANY
    for index in (0, 1, BATCH_ROWS - 1, BATCH_ROWS, len(MANY) - 1, -1):
        assert table[index] == MANY[index]
    assert table[BATCH_ROWS - 2 : BATCH_ROWS + 2] == MANY[BATCH_ROWS - 2 : BATCH_ROWS + 2]
    with pytest.raises(IndexError):
        table[len(MANY)]


def test_columns_say_what_the_pairs_say(table: TokenTable) -> None:
    assert table.ids == [p.id for p in MANY]
    assert table.labels("source") == [p.source for p in MANY]
    assert table.tokens.tolist() == [p.tokens for p in MANY] == token_counts(MANY).tolist()
    assert table.lengths["chosen"].tolist() == [len(p.chosen) for p in MANY]
    longest = [len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in MANY]
    assert table.sequence_lengths.tolist() == longest
    assert table.distinct.all()
    assert not table.cut.any()


def test_an_indistinct_pair_is_known_as_such() -> None:
    table = TokenTable.of([MANY[0], SAME])
    assert table.distinct.tolist() == [True, False]
    assert table.cut.tolist() == [False, True]
    counts = encoding_report(table)
    assert (counts.indistinct, counts.prompts_cut, counts.answers_cut, counts.merged) == (
        1,
        1,
        0,
        1,
    )


def test_lengths_before_cutting() -> None:
    cut = EncodedPair("cut", (1,), (2, 3), (4,), cut_prompt=5, cut_answers=7, cut_chosen=3)
    lengths = TokenTable.of([cut]).uncut_lengths
    assert {part: column.tolist() for part, column in lengths.items()} == {
        "prompt": [6],
        "chosen": [5],
        "rejected": [5],
    }


def test_a_table_of_an_earlier_version_lacks_later_columns(table: TokenTable) -> None:
    earlier = TokenTable(table.table.drop_columns(["cut_chosen"]))
    assert list(earlier) == MANY
    assert earlier.fingerprint() == table.fingerprint()


def test_the_fingerprint_moves_with_content_id_and_order() -> None:
    first, second = MANY[:2]
    swapped = replace(first, chosen=first.rejected, rejected=first.chosen)
    # The same tokens in other places: lengths count too.
    moved = replace(first, prompt=(*first.prompt, first.chosen[0]), chosen=first.chosen[1:])
    renamed = replace(first, id="other")
    variants = [[first, second], [second, first], [renamed, second], [swapped, second], [first]]
    variants += [[moved, second]]
    assert len({TokenTable.of(v).fingerprint() for v in variants}) == 6


def test_the_fingerprint_ignores_batches_and_how_the_tokens_came_about(tmp_path: Path) -> None:
    cut = [replace(pair, cut_prompt=3, merged=True, source="x") for pair in MANY]
    mapped = TokenTable.write(cut, tmp_path / "tokens.arrow")
    assert mapped.fingerprint() == TokenTable.of(MANY).fingerprint()
    halves = (TokenTable.of(MANY[:100]), TokenTable.of(MANY[100:]))
    assert TokenTable.concatenate(halves).fingerprint() == mapped.fingerprint()


def test_an_empty_table() -> None:
    table = TokenTable.of([])
    assert list(table) == []
    assert table.tokens.tolist() == []
    assert encoding_report(table).mean_response_tokens == 0


def test_packing_a_table_is_packing_its_pairs(table: TokenTable) -> None:
    few = MANY[:500]
    assert pack(TokenTable.of(few), 96) == pack(few, 96)


def test_packing_is_first_fit_decreasing() -> None:
    """Against the rule written out, which takes time for every row and pair."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        sizes = rng.integers(1, 40, size=int(rng.integers(0, 120))).tolist()
        pairs = [EncodedPair(str(i), tuple(range(n)), (1,), (2,)) for i, n in enumerate(sizes)]
        assert pack(pairs, 64) == _plain_pack([n + 2 for n in sizes], 64)


def _plain_pack(sizes: list[int], row_tokens: int) -> list[tuple[int, ...]]:
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        fit = next((r for r, left in enumerate(room) if left >= sizes[index]), len(rows))
        if fit == len(rows):
            rows.append([])
            room.append(row_tokens)
        rows[fit].append(index)
        room[fit] -= sizes[index]
    return [tuple(sorted(row)) for row in rows]
