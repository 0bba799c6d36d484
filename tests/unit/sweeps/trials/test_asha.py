"""ASHA on resume: the rungs are those of a sweep that was never interrupted."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from sweeps.run_dir.ledger import TrialRecord
from sweeps.search.searcher import TIME
from sweeps.selection.ordering import EARLY_STOPPING_SCORE
from sweeps.trials.asha import ResumableASHA
from tests.support.searched_trials import OBJECTIVE, POINT, ended

STEPS, GRACE = 16, 4
STOP, CONTINUE = TrialScheduler.STOP, TrialScheduler.CONTINUE


def scheduler(
    ended: list[TrialRecord] | None = None, unfinished: list[TrialRecord] | None = None
) -> ResumableASHA:
    return ResumableASHA(STEPS, GRACE, OBJECTIVE, ended or [], unfinished or [])


def tune_trial(trial_id: str, name: str) -> Any:
    return SimpleNamespace(trial_id=trial_id, config={"trial": name})


def report(asha: ResumableASHA, trial: Any, step: int, best: float) -> str:
    return str(asha.on_trial_result(None, trial, {TIME: step, EARLY_STOPPING_SCORE: best}))


def run(asha: ResumableASHA, record: TrialRecord) -> list[str]:
    """What Tune does with a trial that reports the evaluations of a record; its decisions."""
    trial, best, decisions = tune_trial(f"tune-{record.trial}", record.trial), 0.0, []
    asha.on_trial_add(None, trial)
    for evaluation in record.evaluations:
        best = max(best, evaluation.accuracy(OBJECTIVE))
        decisions.append(report(asha, trial, evaluation.step, best))
        if decisions[-1] == STOP:
            break
    asha.on_trial_complete(None, trial, {TIME: evaluation.step, EARLY_STOPPING_SCORE: best})
    return decisions


def rungs(asha: ResumableASHA) -> list[tuple[float, list[float]]]:
    return [(at, sorted(recorded.values())) for at, recorded in asha._brackets[0]._rungs]


RECORDS = [
    ended("t0000", POINT, 6, 7, 6, 8),
    ended("t0001", POINT, 4, status="stopped"),
    ended("t0002", POINT, 7, 8, status="stopped"),
    ended("t0003", POINT, 5, status="failed"),
]


def test_rungs_are_rebuilt_from_the_ledger() -> None:
    whole = scheduler()
    for record in RECORDS:
        run(whole, record)
    assert rungs(scheduler(RECORDS)) == rungs(whole)
    assert [len(values) for _, values in rungs(whole)] == [1, 2, 4]


@pytest.mark.parametrize(("correct", "decision"), [(2, STOP), (9, CONTINUE)])
def test_a_resumed_sweep_stops_what_an_uninterrupted_one_would_stop(
    correct: int, decision: str
) -> None:
    later = ended("t0004", POINT, correct)
    assert run(scheduler(RECORDS), later) == [decision]
    assert run(scheduler(), later) == [CONTINUE], "the first of all trials is compared with none"


def test_a_trial_that_goes_on_has_its_own_earlier_results() -> None:
    """Without them, what it reaches later would stand in the rung of its beginning."""
    begun = ended("t0004", POINT, 5, 6)
    whole, resumed = scheduler(RECORDS), scheduler(RECORDS, [begun])
    trial = tune_trial("before", "t0004")
    whole.on_trial_add(None, trial)
    for step, best in ((4, 0.55), (8, 0.65)):
        report(whole, trial, step, best)
    again = tune_trial("after", "t0004")
    resumed.on_trial_add(None, again)
    assert rungs(resumed) == rungs(whole)
    assert report(resumed, again, 12, 0.95) == report(whole, trial, 12, 0.95)
    assert rungs(resumed) == rungs(whole)


def test_a_checkpoint_that_cannot_win_is_not_the_best_so_far() -> None:
    first, second = ended("t0000", POINT, 9, 6).evaluations
    excluded = type(first)(**{**vars(first), "violations": {"guardrails": 1.0}})
    record = TrialRecord("t0000", POINT, "finished", 0, (excluded, second))
    asha = scheduler([record])
    assert rungs(asha)[1:] == [(8, [0.65]), (4, [pytest.approx(0.95 - 1)])]


def test_trials_that_moved_nothing_do_not_stop_one_that_can_win() -> None:
    [evaluation] = ended("t0000", POINT, 7).evaluations
    still = replace(evaluation, violations={"moved": 0.5, "accuracy": -0.2})
    records = [TrialRecord(f"t{n:04d}", POINT, "finished", 0, (still,)) for n in range(3)]
    assert run(scheduler(records), ended("t0003", POINT, 6)) == [CONTINUE]
