"""Clusters are drawn by their names, and a split takes no more pairs than it may."""

from __future__ import annotations

from dpo_core.preferences.split_draws import SplitDraws, group_draw

FRACTIONS = {"select": 0.4, "final": 0.4}
NAMES = sorted((f"cluster {n}" for n in range(200)), key=lambda name: group_draw(0, name))
FINAL = [name for name in NAMES if group_draw(0, name) < 0.4]


def final(clusters: dict[str, int], most: int, bound: int = 0) -> list[str]:
    draws = SplitDraws(0, FRACTIONS, FRACTIONS, {"final": most})
    splits = draws.of(clusters, {"final": bound}).split
    return [name for name in NAMES if name in clusters and splits[name] == "final"]


def test_the_least_draws_come_first() -> None:
    clusters = dict.fromkeys(reversed(NAMES), 2)
    assert final(clusters, 10) == FINAL[:5]
    assert final(clusters, 11) == FINAL[:5]
    assert final(clusters, 10, bound=4) == FINAL[:3]
    assert final(clusters, 10, bound=12) == []
    assert final(clusters, 2 * len(FINAL)) == FINAL


def test_what_is_beyond_is_counted() -> None:
    draws = SplitDraws(0, FRACTIONS, FRACTIONS, {"final": 10})
    drawn = draws.of(dict.fromkeys(NAMES, 2), {})
    assert drawn.over_limit == {"final": 2 * len(FINAL) - 10}
    assert {drawn.split[name] for name in FINAL[5:]} == {"train"}


def test_one_more_pair_displaces_the_last_cluster_alone() -> None:
    clusters = dict.fromkeys(NAMES, 2)
    assert final(clusters | {FINAL[0]: 3}, 20) == FINAL[:9]


def test_a_large_cluster_does_not_keep_a_split_small() -> None:
    clusters = dict.fromkeys(NAMES, 2) | {FINAL[1]: 500, FINAL[3]: 40}
    assert final(clusters, 40) == [FINAL[0], FINAL[2], *FINAL[4:22]]


def test_a_split_of_its_own_file_leaves_its_part_to_train() -> None:
    splits = SplitDraws(0, FRACTIONS, {"select": 0.4}).of(dict.fromkeys(NAMES, 1), {}).split
    assert {splits[name] for name in FINAL} == {"train"}
