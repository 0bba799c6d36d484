"""Splits of prompts: drawn by cluster, bound prompts keep theirs, and what is between is left out."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from dpo_core.preferences.near_duplicates import Sketches
from dpo_core.preferences.prompt_splits import LEFT_OUT, PromptSplits, assign_prompts
from dpo_core.preferences.split_draws import DrawnSplits


def window(start: int) -> str:
    """A question that is like those of the neighbouring windows, two steps away, and no others."""
    return " ".join(f"w{n}" for n in range(start, start + 30))


TEXTS = {
    "d0": window(0),
    "b1": window(4),
    "c2": window(8),
    "a3": window(12),
    "e9": "is it safe to drive after the drops",
}
SPLIT_OF = {"a3": "train", "b1": "select", "c2": "select", "d0": "final", "e9": "train"}


def assign(
    names: Collection[str], bound: Mapping[str, str] = {}, open_splits: Collection[str] = ()
) -> PromptSplits:
    sketches = Sketches.of(TEXTS[name] for name in names)

    def draw(clusters: Mapping[str, int], _: Mapping[str, int]) -> DrawnSplits:
        return DrawnSplits({name: SPLIT_OF[name] for name in clusters}, {})

    return assign_prompts(list(names), sketches, bound, open_splits, draw, dict.fromkeys(names, 1))


def test_a_cluster_is_drawn_by_the_least_of_its_names() -> None:
    assigned = assign(TEXTS)
    assert assigned.cluster == {**dict.fromkeys(("a3", "b1", "c2", "d0"), "a3"), "e9": "e9"}
    assert set(assigned.split.values()) == {"train"}
    assert assign(["d0", "b1"]).cluster == {"d0": "b1", "b1": "b1"}
    assert assign(["d0", "b1"]).split == {"d0": "select", "b1": "select"}


def test_a_prompt_between_a_bound_one_and_another_split_is_left_out() -> None:
    assigned = assign(["d0", "b1", "c2", "e9"], {"d0": "final"}, {"final"})
    assert assigned.split == {"d0": "final", "b1": LEFT_OUT, "c2": "select", "e9": "train"}
    assert assigned.cluster["c2"] == "c2", "clusters are those without what is left out"


def test_a_prompt_that_is_like_bound_ones_alone_joins_them() -> None:
    assigned = assign(["d0", "b1", "e9"], {"d0": "final"}, {"final"})
    assert assigned.split == {"d0": "final", "b1": "final", "e9": "train"}
    assert assigned.cluster == {"d0": "b1", "b1": "b1", "e9": "e9"}


def test_nothing_joins_a_split_that_is_closed() -> None:
    assigned = assign(["d0", "b1", "e9"], {"d0": "final"})
    assert assigned.split == {"d0": "final", "b1": LEFT_OUT, "e9": "train"}


def test_a_prompt_between_bound_ones_of_two_splits_is_left_out() -> None:
    bound = {"d0": "final", "c2": "select"}
    assigned = assign(["d0", "b1", "c2"], bound, {"final", "select"})
    assert assigned.split == {**bound, "b1": LEFT_OUT}


def test_a_prompt_between_a_bound_one_and_a_free_one_of_its_split_stays() -> None:
    assigned = assign(["c2", "a3", "b1", "d0"], {"a3": "final"}, {"final"})
    assert assigned.split["d0"] == "select", "drawn with b1"
    assert assigned.split["c2"] == LEFT_OUT
    assigned = assign(["d0", "b1", "c2"], {"c2": "final"}, {"final"})
    assert assigned.split == {"c2": "final", "b1": "final", "d0": "final"}


def test_bound_prompts_are_one_cluster_where_they_are_alike() -> None:
    bound = {"d0": "final", "b1": "final"}
    assert assign(["d0", "b1"], bound).cluster == {"d0": "b1", "b1": "b1"}
    assert assign(["d0", "b1"], bound).split == bound


def test_the_order_of_prompts_does_not_matter() -> None:
    bound = {"b1": "final"}
    first = assign(list(TEXTS), bound, {"final"})
    for seed in range(5):
        names = random.Random(seed).sample(list(TEXTS), len(TEXTS))
        again = assign(names, bound, {"final"})
        assert (again.split, again.cluster) == (first.split, first.cluster)


def test_a_split_is_drawn_with_what_it_has_already() -> None:
    seen = []

    def draw(clusters: Mapping[str, int], bound: Mapping[str, int]) -> DrawnSplits:
        seen.append((dict(clusters), dict(bound)))
        return DrawnSplits(dict.fromkeys(clusters, "train"), {"final": 7})

    names = ["d0", "b1", "c2", "a3", "e9"]
    sketches = Sketches.of(TEXTS[name] for name in names)
    pairs = {"d0": 1, "b1": 2, "c2": 4, "a3": 8, "e9": 16}
    assigned = assign_prompts(names, sketches, {"d0": "final"}, {"final"}, draw, pairs)
    # d0 is bound, b1 may join it; c2 and a3 are one cluster.
    assert seen == [({"a3": 12, "e9": 16}, {"final": 3})]
    assert assigned.over_limit == {"final": 7}
