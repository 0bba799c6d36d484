"""How far a sweep is: counted from ledger and events, told in a line, read back from a job's log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from sweeps.run_dir.ledger import FAILED, FINISHED, STOPPED, EvaluationRecord, TrialRecord
from sweeps.trials.events import TrialEvent
from sweeps.trials.progress import ProgressCounter, SweepProgress, last_progress

HEALTH = {"drift_chosen": 0.0, "drift_rejected": 0.0}


def record(trial: str, status: str, correct: int | None = None, seconds: float = 0) -> TrialRecord:
    counts = {"reward_accuracy": {"correct": correct, "ties": 0, "total": 10}}
    done = () if correct is None else (EvaluationRecord(4, 0.5, counts, {}, HEALTH),)
    return TrialRecord(trial, {}, status, 0, evaluations=done, seconds=seconds)


def counter(*records: TrialRecord, trials: int = 6, concurrent: int = 1, **rest) -> ProgressCounter:
    return ProgressCounter(records, "reward_accuracy", trials, concurrent, **rest)


def test_a_resumed_sweep_counts_on_from_its_ledger() -> None:
    counted = counter(record("t0", FINISHED, 6), record("t1", FAILED), record("t2", STOPPED, 5))
    assert (counted.now, counted.running) == (SweepProgress(3, 6, failed=1, best=0.6), 0)
    for kind, trial, accuracy in (
        ("started", "t3", None),
        ("started", "t4", None),
        ("evaluated", "t3", 0.7),
        ("evaluated", "t4", 0.2),
        ("evaluated", "t4", 0.9),  # it did nothing
        (FAILED, "t4", None),
        (FINISHED, "t3", None),
        ("started", "t5", None),
    ):
        violations = {"moved": 0.4 if accuracy == 0.9 else -0.2}
        numbers = {"accuracy": accuracy, "violations": violations}
        counted.count(TrialEvent(kind, trial, {}, numbers))
    assert (counted.now, counted.running) == (SweepProgress(5, 6, failed=2, best=0.7), 1)


def test_the_time_left_is_that_of_the_trials_left() -> None:
    time = [0.0]
    counted = counter(trials=5, concurrent=2, clock=lambda: time[0])
    assert counted.now.seconds_left is None, "nobody knows before the first has ended"
    for trial in ("t0", "t1"):
        counted.count(TrialEvent("started", trial, {}))
    time[0] = 60.0
    counted.count(TrialEvent(FAILED, "t1", {}, record=record("t1", FAILED, seconds=1)))
    assert counted.now.seconds_left is None, "a trial that fails at once says nothing"
    counted.count(TrialEvent(FINISHED, "t0", {}, record=record("t0", FINISHED, 6, seconds=60)))
    assert counted.now.seconds_left == 3 * 60 / 2
    counted.count(TrialEvent("started", "t2", {}))
    time[0] = 90.0
    assert counted.now.seconds_left == (3 * 60 - 30) / 2
    time[0] = 900.0
    assert counted.now.seconds_left == 2 * 60 / 2, "one that takes longer has nothing left"
    for trial in ("t2", "t3", "t4"):
        ended = record(trial, FINISHED, 6, seconds=60)
        counted.count(TrialEvent(FINISHED, trial, {}, record=ended))
    assert counted.now.seconds_left == 0


LOG = """\
2026-11-30 08:00:00 UTC  t0002 step 20/40   reward_accuracy 0.700   loss 0.5   best 0.731 t0001 step 4
(t0 of 3 trials)
2026-11-30 08:10:00 UTC  t0002 {}   ({})
2026-11-30 08:10:10 UTC  t0003 started   beta=0.1
"""


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (SweepProgress(1, 14), "1 of 14 trials"),
        (SweepProgress(3, 14, 1, 0.731), "3 of 14 trials, 1 failed; best 0.731"),
        (SweepProgress(3, 14, 0, None, 301.0), "3 of 14 trials; about 6 min left"),
        (SweepProgress(14, 14, 0, 0.5, 0.0), "14 of 14 trials; best 0.500"),
    ],
)
def test_what_a_line_says_is_read_back(progress: SweepProgress, words: str) -> None:
    assert str(progress) == words
    now = datetime(2026, 11, 30, 8, 12, tzinfo=UTC)
    for end in ("finished", "failed: nan, loss (x) is nan"):
        read = last_progress(LOG.format(end, words), now)
        left = 4 * 60.0 if progress.seconds_left else None
        assert read == replace(progress, seconds_left=left), "two of the six minutes have gone by"


def test_a_log_without_an_end_has_no_progress() -> None:
    lines: Any = LOG.splitlines()
    assert last_progress("\n".join(lines[:2])) is None
