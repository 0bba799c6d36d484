"""Splits by prompt group: a pair never moves, a group is never torn, files come back whole."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
from dpo_core.preferences.pairs import normalized_question, number_repeats, question_id
from dpo_core.preferences.split_draws import group_draw
from tests.support.outside_inputs import outside_input
from tests.support.toys import text_pair


def pair(question: int, answer: int = 0) -> PreferencePair:
    # No two questions are nearly the same, as those that differ in a number would be.
    word = hashlib.sha256(f"{question}".encode()).hexdigest()[:12]
    row = {"prompt": f"What is {word}?", "chosen": f"Yes {answer}", "rejected": "No\u2028"}
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
    names = ("train", "select", "final", "left_out")
    return {p.id: name for name in names for p in getattr(splits, name)}


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
            "which takes about 4605168 groups, 4604968 more than there are; add "
            "pairs of other prompts, give a larger select_fraction, or try another seed",
        ),
        (
            0.7999999,
            "split 'train' is empty: none of 200 prompt groups fell into its fraction 1e-07, "
            "which takes about 46051700 groups, 46051500 more than there are; add pairs "
            "of other prompts, give smaller fractions to the others, or try another seed",
        ),
    ],
)
def test_an_empty_split_is_an_error(select: float, message: str) -> None:
    with pytest.raises(DataError) as caught:
        split_pairs(BASE, seed=0, select_fraction=select, final_fraction=0.2)
    assert str(caught.value) == message


def test_no_pairs_at_all() -> None:
    with pytest.raises(DataError, match=r"split 'train' is empty: there are 0 prompt groups"):
        split([])


def test_prompts_that_are_all_alike_are_told_what_can_help() -> None:
    alike = [
        text_pair(f"Why is the sky above us so very blue, number {n}?", "a", "b") for n in range(9)
    ]
    with pytest.raises(DataError) as caught:
        split(alike)
    assert str(caught.value).partition(" is empty: ")[2] == (
        "there is 1 prompt group (prompts that are nearly the same by data.min_similarity: 0.7 are one)"
        ", and 3 splits need as many; add pairs of other prompts, here or as data.select_path and "
        "data.final_path, or give a larger data.min_similarity"
    )
    with pytest.raises(DataError) as caught:
        split([text_pair("Why?", f"a{n}", "b") for n in range(9)])
    assert str(caught.value).partition(" is empty: ")[2] == (
        "there is 1 prompt group, and 3 splits need as many; add pairs of other prompts, here or as "
        "data.select_path and data.final_path"
    )


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


def clusters_of(splits: PreferenceSplits) -> dict[str, str]:
    return {p.id: p.group for part in vars(splits).values() for p in part}


@unhurried
@given(seed=seeds, count=st.integers(1, len(NEAR)))
def test_near_duplicates_that_are_added_move_only_pairs_of_their_cluster(
    seed: int, count: int
) -> None:
    before, after = split(BASE + NEAR[:count], seed), split(BASE + NEAR, seed)
    unchanged = {id for id, _ in clusters_of(before).items() & clusters_of(after).items()}
    assert unchanged >= {pair.id for pair in BASE}
    moved = {id for id, _ in homes(before).items() - homes(after).items()}
    assert not moved & unchanged


def test_a_question_with_other_punctuation_is_the_same() -> None:
    variants = [
        text_pair(q, "Ask.", "No.") for q in ("Is it safe?", "is it safe", "- Is it, safe!")
    ]
    for seed in range(20):
        splits = split(BASE + variants, seed)
        assert len({homes(splits)[pair.id] for pair in variants}) == 1
        assert len({clusters_of(splits)[pair.id] for pair in variants}) == 1


def windows(count: int) -> list[PreferencePair]:
    """Pairs whose questions are like the next one, in chains of six, in no order of their likeness."""
    words = [hashlib.sha256(f"word {n}".encode()).hexdigest()[:6] for n in range(40 * count)]
    starts = [40 * chain + 3 * link for chain in range(count // 6) for link in range(6)]
    return [text_pair(" ".join(words[n : n + 24]), "Ask.", "No.") for n in starts]


def test_a_pair_has_its_cluster_as_its_group() -> None:
    chains = windows(60)
    groups = clusters_of(split(BASE + chains))
    for start in range(0, len(chains), 6):
        chain = chains[start : start + 6]
        assert {groups[pair.id] for pair in chain} == {min(pair.group for pair in chain)}
    assert all(groups[pair.id] == pair.group for pair in BASE)


def shuffled_away(pairs: list[PreferencePair]) -> int:
    """Count the pairs that are in another split when the rows are shuffled, five times."""
    before = homes(split(pairs))
    moved = 0
    for seed in range(5):
        after = homes(split(random.Random(seed).sample(pairs, len(pairs))))
        moved += sum(after[id] != name for id, name in before.items())
    return moved


def test_shuffling_rows_moves_no_pair() -> None:
    pairs = windows(900)
    assert len(pairs) == 900
    assert len(set(clusters_of(split(pairs)).values())) == 150
    assert shuffled_away(pairs) == 0


def test_shuffling_the_rows_of_the_demo_moves_no_pair() -> None:
    assert shuffled_away(load_pairs(str(files("sweeps.demo") / "pharmacy.jsonl"))) == 0


def test_shuffling_the_rows_of_real_pairs_moves_no_pair() -> None:
    assert shuffled_away(load_pairs(str(outside_input("data/hh_harmless.jsonl")))) == 0


def test_prompts_less_similar_than_the_limit_are_apart() -> None:
    pairs = windows(60)
    splits = split_pairs(
        BASE + pairs, seed=0, select_fraction=0.2, final_fraction=0.2, min_similarity=1.0
    )
    assert len({p.group for part in vars(splits).values() for p in part}) == 200 + 60


# Splits that are fixed, and final splits that were opened before


def test_pairs_that_are_like_those_of_a_fixed_split_are_left_out() -> None:
    first, near, again = windows(6)[:3]
    splits = split_pairs(
        [*BASE, first, near, again],
        seed=0,
        select_fraction=0.2,
        final_fraction=0.2,
        fixed_splits={"final": [first]},
    )
    assert [p.id for p in splits.final] == [first.id]
    assert [p.id for p in splits.left_out] == [first.id, near.id]
    assert homes(splits)[again.id] in {"train", "select"}


def opened_by(splits: PreferenceSplits) -> dict[str, str]:
    return {question_id(normalized_question(pair.prompt)): "final" for pair in splits.final}


@unhurried
@given(seed=seeds, other_seed=seeds)
def test_pairs_of_a_final_that_was_opened_stay_in_final(seed: int, other_seed: int) -> None:
    pairs = BASE + NEAR
    before = split(pairs, seed)
    after = split_pairs(
        pairs,
        seed=other_seed,
        select_fraction=0.2,
        final_fraction=0.2,
        kept=opened_by(before),
    )
    assert {p.id for p in before.final} <= {p.id for p in after.final}
    assert not after.left_out
    again = split_pairs(
        pairs, seed=seed, select_fraction=0.2, final_fraction=0.2, kept=opened_by(before)
    )
    assert homes(again) == homes(before)


def test_a_row_that_would_join_an_opened_final_with_training_is_left_out() -> None:
    opened, bridge, train = windows(6)[:3]
    seed = next(
        n
        for n in range(100)
        if group_draw(n, opened.group) < 0.2 and group_draw(n, train.group) >= 0.4
    )
    before = split([*BASE, opened, train], seed)
    after = split_pairs(
        [*BASE, opened, bridge, train],
        seed=seed,
        select_fraction=0.2,
        final_fraction=0.2,
        kept=opened_by(before),
    )
    assert [p.id for p in after.left_out] == [bridge.id]
    assert homes(before).items() <= homes(after).items()


def test_an_opened_prompt_is_known_by_its_words() -> None:
    before = split(BASE)
    louder = [replace(p, prompt=f"{p.prompt}!!", group=f"x{p.group}") for p in BASE]
    after = split_pairs(
        louder, seed=0, select_fraction=0.2, final_fraction=0.2, kept=opened_by(before)
    )
    assert {p.id for p in before.final} <= {p.id for p in after.final}


def test_pairs_of_an_opened_final_are_left_out_where_final_has_its_own_file() -> None:
    before = split(BASE)
    fresh = [pair(question) for question in range(500, 520)]
    after = split_pairs(
        BASE,
        seed=0,
        select_fraction=0.2,
        final_fraction=0.2,
        fixed_splits={"final": fresh},
        kept=opened_by(before),
    )
    assert {p.id for p in after.left_out} == {p.id for p in before.final}
    assert [p.id for p in after.final] == [p.id for p in fresh]
    assert [p.id for p in after.select] == [p.id for p in before.select], "nothing else moves"


def test_an_empty_split_says_what_was_left_out() -> None:
    with pytest.raises(DataError) as caught:
        split_pairs(
            BASE,
            seed=0,
            select_fraction=0.2,
            final_fraction=0.2,
            fixed_splits={"final": BASE},
        )
    assert "give a larger data.min_similarity" not in str(caught.value)
    assert str(caught.value).endswith(
        "; 400 pairs are left out, whose prompts are nearly those of a split that was read from its "
        "own file, or of a final split that was opened before"
    )


# The most pairs of a split


def limited(
    pairs: list[PreferencePair], seed: int = 0, most: int = 30, **more: Any
) -> PreferenceSplits:
    return split_pairs(
        pairs,
        seed=seed,
        select_fraction=0.2,
        final_fraction=0.2,
        most_pairs={"select": most, "final": most},
        **more,
    )


@unhurried
@given(seed=seeds)
def test_a_split_has_no_more_than_its_most_pairs(seed: int) -> None:
    free, splits = homes(split(BASE, seed)), limited(BASE, seed)
    home = homes(splits)
    assert 27 <= len(splits.select) <= 30
    assert 27 <= len(splits.final) <= 30
    assert {name: home[name] for name in home if free[name] == "train"} == {
        name: "train" for name in free if free[name] == "train"
    }
    assert {home[name] for name in home if free[name] == "select"} == {"select", "train"}
    over = {s: sum(free[n] == s and home[n] == "train" for n in home) for s in ("select", "final")}
    assert splits.over_limit == over
    groups = [{p.group for p in part} for part in (splits.train, splits.select, splits.final)]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    assert homes(limited(BASE, most=400)) == homes(split(BASE))
    assert limited(BASE, most=400).over_limit == {}


@unhurried
@given(seed=seeds, order=st.permutations(range(len(BASE))))
def test_a_full_split_does_not_depend_on_the_order_of_rows(seed: int, order: list[int]) -> None:
    assert homes(limited([BASE[i] for i in order], seed)) == homes(limited(BASE, seed))


@unhurried
@given(seed=seeds, added=more)
def test_rows_that_are_added_move_pairs_out_of_a_full_split_only_as_they_take_their_place(
    seed: int, added: list[PreferencePair]
) -> None:
    before = limited(BASE, seed)
    after = limited(list(number_repeats([*BASE, *added])), seed)
    now = homes(after)
    for name in ("select", "final"):
        kept = [p for p in getattr(before, name) if now[p.id] == name]
        displaced = {p.id for p in getattr(before, name)} - {p.id for p in kept}
        assert {now[id] for id in displaced} <= {"train"}
        draws = [group_draw(seed, p.group) for p in getattr(after, name)]
        # Whoever left had a larger draw than all that are there, and so did not make room for nothing.
        leavers = [group_draw(seed, p.group) for p in getattr(before, name) if p.id in displaced]
        assert not leavers or max(draws) < min(leavers)
        joined = {p.id for p in getattr(after, name)} - {p.id for p in getattr(before, name)}
        assert joined <= {p.id for p in number_repeats([*BASE, *added])} - {p.id for p in BASE}


def test_a_final_that_was_opened_stays_though_it_is_full() -> None:
    opened = opened_by(split(BASE))
    splits = limited(BASE, kept=opened)
    assert {p.id for p in splits.final} == {p.id for p in split(BASE).final}
    later = limited([*BASE, *(pair(n) for n in range(1000, 1400))], kept=opened)
    assert {p.id for p in later.final} == {p.id for p in splits.final}
    assert len(later.select) <= 30


def test_a_split_of_its_own_file_is_never_cut() -> None:
    own = [pair(n) for n in range(5000, 5100)]
    splits = limited(BASE, fixed_splits={"final": own})
    assert len(splits.final) == 100
    assert splits.over_limit.keys() == {"select"}
