"""What Tune's events leave: records, events for people, checkpoints and studies."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

from dpo_core.errors import StorageError, TrialFailed
from sweeps.run_dir import ledger
from sweeps.run_dir.prepared import Prepared
from sweeps.search.drawn_point import DrawnPoint
from sweeps.trials.events import TrialEvent
from sweeps.trials.ledger_callback import LedgerCallback
from tests.support.toy_sweeps import STEPS, ScriptedSweep
from tests.support.toys import toy_pairs

BEST = {"beta": 0.1, "learning_rate": 1e-5, "length_norm": "none"}
WORST = {"beta": 0.5, "learning_rate": 1e-2, "length_norm": "none"}  # it drifts over every limit


class Trial:
    """What the callback reads of a Tune trial."""

    def __init__(
        self, drawn: DrawnPoint, error: Exception | None = None, error_file: Path | None = None
    ) -> None:
        self.config, self.error, self.error_file = drawn.as_dict(), error, error_file

    def get_error(self) -> Exception | None:
        return self.error


class Running:
    """A sweep without Ray, its callback and the events that it reported."""

    def __init__(self, folder: Path) -> None:
        self.sweep = ScriptedSweep(folder / "s", toy_pairs(60))
        self.paths = self.sweep.paths
        self.events: list[TrialEvent] = []
        self.callback = self.new_callback()

    def new_callback(self) -> LedgerCallback:
        prepared = Prepared.read(self.paths)
        return LedgerCallback(self.sweep.config, self.paths, prepared, self.events.append)

    def draw(self, number: int, **point: Any) -> DrawnPoint:
        whole = self.sweep.draw(number, **point)
        return DrawnPoint(self.paths.trial_name(number), whole, 0)

    def train(self, number: int, point: dict[str, Any], upto: int = STEPS[-1]) -> DrawnPoint:
        """Draw and start a trial, and report its evaluations up to a step."""
        drawn = self.draw(number, **point)
        self.callback.on_trial_start(iteration=0, trials=[], trial=Trial(drawn))
        for step in (step for step in STEPS if step <= upto):
            self.sweep.evaluate(number, dict(drawn.point), [step])
            result = {"accuracy": 0.5, "best_accuracy": 0.5, "violations": {}, "global_step": step}
            self.callback.on_trial_result(iteration=0, trials=[], trial=Trial(drawn), result=result)
        return drawn

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path)


def test_a_trial_becomes_a_record_and_events(running: Running) -> None:
    drawn = running.train(0, BEST)
    running.callback.on_trial_complete(iteration=0, trials=[], trial=Trial(drawn))
    [record] = ledger.read(running.paths.store, running.paths.ledger)
    assert (record.trial, record.status, record.point) == ("t0000", "finished", drawn.point)
    assert [e.step for e in record.evaluations] == list(STEPS)
    assert record.loss_beta == pytest.approx(0.1)
    assert running.kinds() == ["started", *["evaluated"] * len(STEPS), "finished"]
    assert running.events[-1].record == record
    assert running.events[1].metrics["global_step"] == STEPS[0]


def test_a_trial_that_ends_early_was_stopped(running: Running) -> None:
    drawn = running.train(0, BEST, upto=STEPS[1])
    running.callback.on_trial_complete(iteration=0, trials=[], trial=Trial(drawn))
    assert running.callback.records[0].status == "stopped"


def test_a_start_after_a_death_is_reported_once(running: Running) -> None:
    drawn = running.draw(0, **BEST)
    for _ in range(2):
        running.callback.on_trial_start(iteration=0, trials=[], trial=Trial(drawn))
    assert running.kinds() == ["started"]


def test_a_report_without_an_accuracy_is_no_evaluation(running: Running) -> None:
    drawn = running.draw(0, **BEST)
    running.callback.on_trial_result(
        iteration=0, trials=[], trial=Trial(drawn), result={"training_iteration": 1}
    )
    assert running.events == []


def test_what_the_worker_wrote_is_the_reason(running: Running) -> None:
    drawn = running.draw(0, **BEST)
    content = b'{"reason": "nan", "detail": "the loss is nan", "traceback": ""}'
    running.paths.store.write(running.paths.failure("t0000"), content)
    trial = Trial(drawn, error=RuntimeError("ray says something else"))
    running.callback.on_trial_error(iteration=0, trials=[], trial=trial)
    [record] = running.callback.records
    assert (record.status, record.reason, record.detail) == ("failed", "nan", "the loss is nan")


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (TrialFailed("worker died", "killed"), "worker died", "killed"),
        (None, "exception", "RuntimeError: the trial's driver died"),
    ],
)
def test_else_the_driver_knows_the_reason(
    running: Running, error: Exception | None, reason: str, detail: str
) -> None:
    trial = Trial(running.draw(0, **BEST), error)
    running.callback.on_trial_start(iteration=0, trials=[], trial=trial)
    running.callback.on_trial_error(iteration=0, trials=[], trial=trial)
    [record] = running.callback.records
    assert (record.reason, record.detail) == (reason, detail)


def test_a_trial_whose_actor_died_before_it_started_stays_open(running: Running) -> None:
    drawn = running.draw(0, **BEST)
    for _ in range(2):
        running.callback.on_trial_error(iteration=0, trials=[], trial=Trial(drawn))
        assert running.callback.records == []
        assert running.callback.close_lost([drawn]) is True
        assert running.callback.to_be_run([drawn]) == [drawn]
    running.callback.on_trial_error(iteration=0, trials=[], trial=Trial(drawn))
    assert [r.status for r in running.callback.records] == ["failed"]
    assert running.callback.close_lost([]) is False


def test_one_that_starts_later_and_is_lost_then_is_recorded(running: Running) -> None:
    drawn = running.draw(0, **BEST)
    running.callback.on_trial_error(iteration=0, trials=[], trial=Trial(drawn))
    running.callback.on_trial_start(iteration=0, trials=[], trial=Trial(drawn))
    assert running.callback.close_lost([drawn]) is False
    assert [r.reason for r in running.callback.records] == ["lost"]


@pytest.mark.parametrize("event", ["on_trial_error", "on_trial_recover"])
def test_a_storage_that_is_full_ends_the_sweep_and_fails_no_trial(
    running: Running, tmp_path: Path, event: str
) -> None:
    file = tmp_path / "error.txt"
    file.write_text("Failure # 1\n  StorageError: /runs: the disk is full\n")
    trial = Trial(running.draw(0, **BEST), error_file=file)
    with pytest.raises(StorageError, match="the disk is full"):
        getattr(running.callback, event)(iteration=0, trials=[], trial=trial)
    assert running.callback.records == []


def test_a_recovery_without_errors_is_nothing(running: Running) -> None:
    trial = Trial(running.draw(0, **BEST))
    running.callback.on_trial_recover(iteration=0, trials=[], trial=trial)
    assert running.events == []


def test_a_record_is_written_once(running: Running) -> None:
    drawn = running.train(0, BEST)
    running.callback.end(drawn, "finished")
    running.callback.end(drawn, "failed", "lost", "Ray Tune lost the trial")
    assert [r.status for r in ledger.read(running.paths.store, running.paths.ledger)] == [
        "finished"
    ]


def test_a_resumed_sweep_ends_what_was_trained_and_runs_the_rest(running: Running) -> None:
    trained, underway = running.train(0, BEST), running.train(1, BEST, upto=STEPS[0])
    failed = running.draw(2, **BEST)
    content = b'{"reason": "nan", "detail": "the loss is nan", "traceback": ""}'
    running.paths.store.write(running.paths.failure("t0002"), content)
    resumed = running.new_callback()
    assert resumed.to_be_run([trained, underway, failed]) == [underway]
    assert [(r.trial, r.status) for r in resumed.records] == [
        ("t0000", "finished"),
        ("t0002", "failed"),
    ]


def test_what_tune_lost_is_recorded(running: Running) -> None:
    running.callback.close_lost([running.draw(0, **BEST)])
    [record] = ledger.read(running.paths.store, running.paths.ledger)
    assert (record.status, record.reason) == ("failed", "lost")


def test_only_what_can_win_or_go_on_stays_on_disk(running: Running) -> None:
    best = running.train(0, BEST)
    running.callback.end(best, "finished")
    worst = running.train(1, WORST, upto=STEPS[1])
    store, paths = running.paths.store, running.paths
    assert paths.checkpoint_steps("t0001") == list(STEPS[:2]), "it may still go on"
    running.callback.end(worst, "stopped")
    assert not store.exists(f"{paths.checkpoints}/t0001"), "it cannot win any more"
    assert STEPS[-1] in paths.checkpoint_steps("t0000")
    underway = running.train(2, WORST, upto=STEPS[1])
    assert paths.checkpoint_steps(underway.trial) == list(STEPS[:2])


def published(running: Running) -> list[str]:
    """The trials in the published study."""
    copy = running.paths.store.local / "study.db"
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{copy}")
    return [trial.user_attrs["trial"] for trial in study.trials]


def test_studies_are_published_now_and_then_and_at_the_end(running: Running) -> None:
    for number in range(3):
        running.callback.end(running.train(number, BEST, upto=STEPS[0]), "stopped")
    assert published(running) == ["t0000"], "the others came within ten seconds"
    running.callback.publish(last=True)
    assert published(running) == ["t0000", "t0001", "t0002"]


def open_files_of_the_study(running: Running) -> int:
    paths = [file.path for file in psutil.Process().open_files()]
    return sum(path.startswith(running.callback.scratch.name) for path in paths)


def test_publishing_opens_the_study_once(running: Running) -> None:
    """Each opening is a megabyte in cycles, which Python frees late in a process of many objects."""
    running.callback.publish()
    before = open_files_of_the_study(running)
    gc.disable()
    try:
        for number in range(3):
            running.callback.end(running.train(number, BEST, upto=STEPS[0]), "stopped")
            running.callback.publish()
        assert open_files_of_the_study(running) == before
    finally:
        gc.enable()
    assert published(running) == ["t0000", "t0001", "t0002"]


def test_nothing_of_it_is_pickled(running: Running) -> None:
    assert pickle.loads(pickle.dumps(running.callback)).__dict__ == {}
