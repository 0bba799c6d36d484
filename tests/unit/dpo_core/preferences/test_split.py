"""Splits by prompt group: a pair never moves, a group is never torn, files come back whole."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.errors import DataError, SettingsError
from dpo_core.preferences import (
    PreferencePair,
    PreferenceSplits,
    as_chat,
    load_pairs,
    pair_from_row,
    split_lines,
    split_pairs,
)
from dpo_core.preferences.pairs import number_repeats
from dpo_core.preferences.split import group_draw
from tests.support.toys import text_pair


def pair(question: int, answer: int = 0) -> PreferencePair:
    row = {"prompt": f"Question {question}?", "chosen": f"Yes {answer}", "rejected": "No\u2028"}
    return pair_from_row(row, where="here")


# Enough questions that no split stays empty, for any seed drawn below.
BASE = [pair(question, answer) for question in range(200) for answer in range(2)]
seeds = st.integers(0, 1000)
more = st.lists(st.builds(pair, st.integers(0, 400), st.integers(0, 5)), max_size=30)

# Hundreds of sketches an example, and files: eight are enough, and a busy machine is no failure.
unhurried = settings(deadline=None, max_examples=8)


def split(pairs: list[PreferencePair], seed: int = 0) -> PreferenceSplits:
    return split_pairs(pairs, seed=seed, select_fraction=0.2, final_fraction=0.2)


def homes(splits: PreferenceSplits) -> dict[str, str]:
    return {p.id: name for name, part in vars(splits).items() for p in part}


def test_golden_draw() -> None:
    assert group_draw(0, "0123456789abcdef") == 0.218689942620111


@given(seed=st.integers(), group=st.text(st.characters(codec="utf-8")))
def test_a_draw_is_at_least_0_and_below_1(seed: int, group: str) -> None:
    assert 0 <= group_draw(seed, group) < 1


def test_fractions_are_those_of_the_draws() -> None:
    splits = split_pairs(BASE, seed=3, select_fraction=0.3, final_fraction=0.1)
    assert all(group_draw(3, p.group) < 0.1 for p in splits.final)
    assert all(0.1 <= group_draw(3, p.group) < 0.4 for p in splits.select)
    assert all(group_draw(3, p.group) >= 0.4 for p in splits.train)


@unhurried
@given(seed=seeds, added=more)
def test_appended_rows_move_no_pair(seed: int, added: list[PreferencePair]) -> None:
    before = homes(split(BASE, seed))
    after = homes(split(list(number_repeats(BASE + added)), seed))
    assert before.items() <= after.items()


@unhurried
@given(seed=seeds, added=more)
def test_no_group_is_in_two_splits(seed: int, added: list[PreferencePair]) -> None:
    splits = split(BASE + added, seed)
    groups = [{p.group for p in part} for part in vars(splits).values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert sum(map(len, vars(splits).values())) == len(BASE + added)


@unhurried
@given(seed=seeds, order=st.permutations(range(len(BASE))))
def test_the_order_of_rows_does_not_matter(seed: int, order: list[int]) -> None:
    assert homes(split([BASE[n] for n in order], seed)) == homes(split(BASE, seed))


def test_another_seed_is_another_split() -> None:
    assert homes(split(BASE, 0)) != homes(split(BASE, 1))


def test_text_and_chat_form_are_split_alike() -> None:
    assert homes(split([as_chat(p) for p in BASE])) == homes(split(BASE))


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_is_between_0_and_1(value: float) -> None:
    with pytest.raises(SettingsError) as caught:
        split_pairs(BASE, seed=0, select_fraction=value, final_fraction=0.2)
    assert str(caught.value) == (
        f"select_fraction: {value} must be between 0 and 1; 0.2 is a good start"
    )


def test_fractions_leave_something_to_train_on() -> None:
    with pytest.raises(SettingsError) as caught:
        split_pairs(BASE, seed=0, select_fraction=0.5, final_fraction=0.5)
    assert str(caught.value) == (
        "select_fraction + final_fraction = 1 leaves nothing to train on; keep the sum below 1"
    )


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (
            1e-6,
            "split 'select' is empty: none of 200 prompt groups fell into its fraction 1e-06, "
            "which takes about 4605168 groups, 4604968 more than there are; add data, "
            "give a larger select_fraction, or try another seed",
        ),
        (
            0.7999999,
            "split 'train' is empty: none of 200 prompt groups fell into its fraction 1e-07, "
            "which takes about 46051700 groups, 46051500 more than there are; add data, give smaller "
            "fractions to the others, "
            "or try another seed",
        ),
    ],
)
def test_an_empty_split_is_an_error(select: float, message: str) -> None:
    with pytest.raises(DataError) as caught:
        split_pairs(BASE, seed=0, select_fraction=select, final_fraction=0.2)
    assert str(caught.value) == message


def test_no_pairs_at_all() -> None:
    with pytest.raises(DataError, match=r"split 'train' is empty: none of 0 prompt groups"):
        split([])


# Files


@unhurried
@given(added=more, chat=st.booleans())
def test_splits_written_are_the_splits_read(added: list[PreferencePair], chat: bool) -> None:
    pairs = list(number_repeats(BASE[:80] + added))
    splits = split([as_chat(p) for p in pairs] if chat else pairs)
    for name in ("train", "select", "final"):
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.jsonl"
            path.write_bytes(b"".join(split_lines(getattr(splits, name))))
            read = load_pairs(str(path))
        # Repeats are numbered within a file; everything else is as it was.
        assert [(p.group, p.prompt, p.chosen, p.rejected) for p in read] == [
            (p.group, p.prompt, p.chosen, p.rejected) for p in getattr(splits, name)
        ]
        assert [p.id for p in read] == [p.id for p in getattr(splits, name)]


# Near duplicates

DOSE = "How many tablets of {} may I take on one day if I am {} years old and weigh {} kilograms?"
NEAR = [
    text_pair(f"{DOSE.format(drug, age, 70)}{end}", "Ask.", "Ten.")
    for drug in ("ibuprofen", "aspirin", "codeine", "naproxen", "tramadol", "cetirizine")
    for age, end in ((30, ""), (30, " Please!"), (30, " Thanks."))
]


@unhurried
@given(seed=seeds)
def test_prompts_that_ask_nearly_the_same_stay_together(seed: int) -> None:
    places = homes(split(BASE + NEAR, seed))
    exact = {group_draw(seed, p.group) for p in NEAR}
    assert len(exact) == len(NEAR)  # each would have gone its own way
    for start in range(0, len(NEAR), 3):
        assert len({places[pair.id] for pair in NEAR[start : start + 3]}) == 1


@unhurried
@given(seed=seeds, first=st.integers(1, len(NEAR)))
def test_near_duplicates_that_are_appended_move_no_pair(seed: int, first: int) -> None:
    before = homes(split(BASE + NEAR[:first], seed))
    after = homes(split(BASE + NEAR, seed))
    assert before.items() <= after.items()
