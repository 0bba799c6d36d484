"""The ledger: what was appended is read back, a torn end is no record, damage is an error."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.storage.store import Store
from sweeps.run_dir import ledger
from sweeps.run_dir.ledger import EvaluationRecord, LedgerError, TrialRecord
from sweeps.run_dir.lock import Busy, lock

NAME = "ledger.jsonl"


def record(trial: str, *steps: int, status: str = "finished", **changes: object) -> TrialRecord:
    evaluations = tuple(
        EvaluationRecord(
            step=step,
            loss=0.5,
            counts={"reward_accuracy": {"correct": 6, "ties": 1, "total": 10}},
            slices={},
            health={"drift_chosen": -0.25, "drift_rejected": 0.0},
        )
        for step in steps
    )
    point = {"learning_rate": 1e-5, "length_norm": "none"}
    return TrialRecord(trial, point, status, 0, evaluations, **changes)


FIRST, SECOND = record("t0000", 4, 8), record("t0001", reason="nan", detail="a\nb ü")
THIRD = record("t0002", 4)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of appends
    return Store.open(tmp_path)


def filled(store: Store, *records: TrialRecord) -> bytes:
    for each in records:
        ledger.append(store, NAME, each)
    return store.read(NAME)


def test_no_ledger_is_no_records(store: Store) -> None:
    assert ledger.read(store, NAME) == []


def test_what_was_appended_is_read_back_in_order(store: Store) -> None:
    content = filled(store, SECOND, FIRST, THIRD)
    assert ledger.read(store, NAME) == [SECOND, FIRST, THIRD]
    assert content.count(b"\n") == 3  # a line a record, whatever its detail holds


def test_accuracy_counts_half_a_tie() -> None:
    assert FIRST.evaluations[0].accuracy("reward_accuracy") == 0.65  # (6 + 1/2) / 10


def test_trials_that_confirm_are_no_trials_of_the_search() -> None:
    assert ledger.searched([FIRST, record("t0000-s1", 4, confirms="t0000")]) == [FIRST]


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=50)
@given(
    st.builds(
        TrialRecord,
        trial=st.text(min_size=1, max_size=8),
        point=st.dictionaries(st.text(max_size=5), scalars | numbers, max_size=4),
        status=st.sampled_from(["finished", "failed", "stopped"]),
        seed=st.integers(),
        evaluations=st.lists(
            st.builds(
                EvaluationRecord,
                step=st.integers(1),
                loss=numbers,
                counts=st.just({"reward_accuracy": {"correct": 1, "ties": 0, "total": 2}}),
                slices=st.dictionaries(st.text(max_size=5), scalars, max_size=2),
                health=st.dictionaries(st.text(max_size=5), numbers, max_size=2),
            ),
            max_size=2,
        ).map(tuple),
        reason=st.none() | st.text(max_size=8),
        detail=st.none() | st.text(max_size=8),
        seconds=numbers,
    )
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, given_record: TrialRecord) -> None:
    store = Store.open(tmp_path_factory.mktemp("ledger"))
    ledger.append(store, NAME, given_record)
    ledger.append(store, NAME, record(given_record.trial + "x", 4))
    assert ledger.read(store, NAME)[0] == given_record


def test_a_line_is_json_with_the_digest_of_its_record(store: Store) -> None:
    row = json.loads(filled(store, FIRST))
    body = json.dumps(row["record"], sort_keys=True, separators=(",", ":"))
    assert row["sha256"] == hashlib.sha256(body.encode()).hexdigest()
    assert row["record"]["trial"] == "t0000"


def test_a_torn_last_line_is_no_record_and_the_next_append_repairs_it(store: Store) -> None:
    before = filled(store, FIRST, SECOND)
    last = filled(store, THIRD)[len(before) :]
    repaired = before + last
    for kept in range(len(last)):  # kept == len(last) - 1: only the line's end is missing
        store.write(NAME, before + last[:kept])
        assert ledger.read(store, NAME) == [FIRST, SECOND], kept
        ledger.append(store, NAME, THIRD)
        assert store.read(NAME) == repaired, kept


def test_a_torn_first_line(store: Store) -> None:
    line = filled(store, FIRST)
    store.write(NAME, line[:-9])
    assert ledger.read(store, NAME) == []
    ledger.append(store, NAME, SECOND)
    assert ledger.read(store, NAME) == [SECOND]


def test_one_changed_bit_anywhere_is_an_error_or_changes_nothing(store: Store) -> None:
    content, unnoticed = filled(store, FIRST, SECOND), 0
    for offset in range(len(content)):
        damaged = bytearray(content)
        damaged[offset] ^= 1 << offset % 8
        store.write(NAME, bytes(damaged))
        try:
            unnoticed += ledger.read(store, NAME) == [FIRST, SECOND]
        except LedgerError:
            continue
        assert ledger.read(store, NAME) == [FIRST, SECOND], offset
    assert unnoticed < 5, "the e of 1e-05"
    with pytest.raises(
        LedgerError, match=r"ledger\.jsonl:2: damaged \(its end is no end of a line"
    ):
        ledger.append(store, NAME, THIRD)
    assert store.read(NAME) == bytes(damaged), "the record before it is not lost"


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"sha256": "0", "record": []}', b'{"record": 1}'],
)
def test_a_line_that_is_no_record_is_named_with_the_way_out(store: Store, line: bytes) -> None:
    first = filled(store, FIRST)
    store.write(NAME, first + line + b"\n" + first.replace(b"t0000", b"t0009"))
    with pytest.raises(LedgerError, match=r"ledger\.jsonl:2: damaged \(.*resume. runs its trial"):
        ledger.read(store, NAME)


def test_a_record_of_unknown_fields_is_not_guessed_at(store: Store) -> None:
    body = '{"evaluations":[],"trial":"t0000","verdict":"good"}'
    digest = hashlib.sha256(body.encode()).hexdigest()
    store.write(NAME, f'{{"sha256":"{digest}","record":{body}}}\n'.encode())
    with pytest.raises(LedgerError, match="verdict"):
        ledger.read(store, NAME)


def test_a_ledger_from_before_confirmation_is_read(store: Store) -> None:
    filled(store, FIRST)
    body = json.loads(store.read(NAME))["record"]
    del body["confirms"]
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    store.write(NAME, f'{{"sha256":"{digest}","record":{text}}}\n'.encode())
    assert ledger.read(store, NAME) == [FIRST]


def test_a_trial_may_end_only_once(store: Store) -> None:
    filled(store, FIRST, SECOND, record("t0000", 12))
    with pytest.raises(LedgerError, match="trial t0000 is recorded twice; keep the first"):
        ledger.read(store, NAME)


def test_a_number_that_json_does_not_know_is_refused_before_it_is_written(store: Store) -> None:
    filled(store, FIRST)
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.append(store, NAME, record("t0001", seconds=float("nan")))
    assert ledger.read(store, NAME) == [FIRST]


def test_nothing_is_appended_once_another_process_has_the_lock(store: Store) -> None:
    filled(store, FIRST)
    with lock(store, "sweep"):
        ledger.append(store, NAME, SECOND)
        taken_over = {**json.loads(store.read("sweep.json")), "holder": "another", "fence": 9}
        store.write("sweep.json", json.dumps(taken_over).encode())
        with pytest.raises(Busy):
            ledger.append(store, NAME, record("t0009", 12))
    assert ledger.read(store, NAME) == [FIRST, SECOND]
