"""The register of opened final splits: what counts as one opening, and who shares them."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from dpo_core.storage.store import Store
from sweeps.run_dir.final_register import (
    AskedOpening,
    FinalRegister,
    RegisteredOpening,
    final_questions,
    row_question,
)
from sweeps.run_dir.json_files import DamagedFile
from tests.support.ended_sweep import write_ended_sweep

ASKED = AskedOpening(
    sweep="hh-1",
    night=None,
    why="t0001 at step 8",
    against="reference",
    checkpoint="c0",
    when="2026-01-01T00:00:00+00:00",
)


@pytest.fixture
def register(tmp_path: Path) -> FinalRegister:
    return FinalRegister.of(Store.open(tmp_path))


def record(
    register: FinalRegister, prompts: Collection[str], declared: int = 1, **changes: str
) -> RegisteredOpening:
    return register.record(replace(ASKED, **changes), prompts, declared)


def test_a_storage_without_openings(register: FinalRegister) -> None:
    assert register.openings() == []
    assert register.opened_questions() == set()
    assert register.sharing({"a"}) == []


def test_an_opening_is_on_record(register: FinalRegister, tmp_path: Path) -> None:
    opening = record(register, ["b", "a"], 30, night="2026-01-01")
    assert (opening.number, opening.declared, opening.night) == (1, 30, "2026-01-01")
    again = FinalRegister.of(Store.open(tmp_path))
    assert again.openings() == [opening]
    assert again.opened_questions() == {"a", "b"}
    assert again.sharing({"b", "z"}) == [opening]
    assert again.sharing({"z"}) == []


def test_the_same_opening_again_is_no_further_one(register: FinalRegister) -> None:
    first = record(register, {"a"}, 3)
    assert record(register, {"a"}, 3, when="2026-01-02") == first
    assert len(register.openings()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"sweep": "hh-2"},
        {"why": "t0002 at step 8"},
        {"against": "runs/hh-0/best"},
        {"checkpoint": "c1"},  # a sweep that was deleted and run again under its id
    ],
)
def test_another_sweep_choice_or_opponent_is_another_opening(
    register: FinalRegister, change: dict[str, str]
) -> None:
    record(register, {"a"}, 3)
    assert record(register, {"a"}, 3, **change).number == 2


def test_final_splits_that_share_a_prompt_share_their_openings(register: FinalRegister) -> None:
    assert record(register, {"a", "b"}, sweep="1").number == 1
    assert record(register, {"c", "d"}, sweep="2").number == 1
    assert record(register, {"b", "e"}, sweep="3").number == 2
    assert record(register, {"e"}, sweep="4").number == 3, "joined to the first by the third"
    assert record(register, {"a", "c"}, sweep="5").number == 5, "joins both"
    assert record(register, {"f"}, sweep="6").number == 1


def test_what_was_declared_first_counts(register: FinalRegister) -> None:
    assert record(register, {"a"}, 2, sweep="1").declared == 2
    assert record(register, {"a"}, 30, sweep="2").declared == 2
    assert record(register, {"b"}, 5, sweep="3").declared == 5
    assert record(register, {"a", "b"}, 30, sweep="4").declared == 2, "the least of those joined"
    assert record(register, {"b"}, 30, sweep="5").declared == 2


def test_the_next_opening_is_told_without_being_recorded(register: FinalRegister) -> None:
    assert register.next_opening({"a"}, 7) == (1, 7)
    record(register, {"a", "b"}, 3)
    assert register.next_opening({"b"}, 7) == (2, 3)
    assert register.next_opening({"z"}, 7) == (1, 7)
    assert len(register.openings()) == 1


def test_sweeps_that_open_at_once_get_a_number_each(tmp_path: Path) -> None:
    def open_once(sweep: int) -> int:
        return record(FinalRegister.of(Store.open(tmp_path)), {"a"}, 9, sweep=f"{sweep}").number

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(open_once, range(8))) == list(range(1, 9))


@pytest.mark.parametrize("kind", ["openings", "prompts"])
@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_a_damaged_register_is_refused(
    register: FinalRegister, kind: str, content: bytes | None
) -> None:
    record(register, {"a"})
    [name] = register.store.names(kind)
    whole = register.store.read(f"{kind}/{name}")
    register.store.write(f"{kind}/{name}", whole[:-9] if content is None else content)
    fresh = FinalRegister(register.store)
    with pytest.raises(DamagedFile, match=f"{kind}/{name}: .*; restore it from a copy"):
        fresh.opened_questions()
    with pytest.raises(DamagedFile):
        record(fresh, {"a"}, sweep="2")


def test_a_kill_between_the_two_files_leaves_no_opening(register: FinalRegister) -> None:
    record(register, {"a"})
    [name] = register.store.names("openings")
    register.store.delete(f"openings/{name}")
    assert register.openings() == []
    assert record(register, {"a"}).number == 1


def test_the_questions_of_a_final_split(tmp_path: Path) -> None:
    paths = write_ended_sweep(tmp_path)
    assert final_questions(paths) == {row_question("?")}
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it safe?"}]
    assert row_question(turns) == row_question("is it SAFE")
