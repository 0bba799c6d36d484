"""Outside a process group there is one rank; test_trainer.py trains on two."""

from __future__ import annotations

from dpo_core.training.ranks import gather_dicts, mean_over_ranks, rank_and_world


def test_one_process_is_rank_0_of_1() -> None:
    assert rank_and_world() == (0, 1)


def test_one_rank_keeps_its_own_values() -> None:
    assert gather_dicts({3: "a", 1: "b"}) == {3: "a", 1: "b"}
    assert mean_over_ranks(0.25) == 0.25
