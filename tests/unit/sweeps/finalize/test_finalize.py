"""The end of a sweep: what is written, in which order, and what a second call repeats."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import SettingsError
from dpo_core.evaluation.outcomes import write_outcomes
from dpo_core.storage.json_content import decode_json
from dpo_core.storage.store import Store
from sweeps.finalize.export import export_and_score, final_outcomes
from sweeps.finalize.final_split import FinalSpent, read_openings
from sweeps.finalize.finalize import _log_losses, finalize_sweep
from sweeps.finalize.incumbent import _score_remotely
from sweeps.reselect import replay, replayed_config
from sweeps.run_dir import json_files, ledger
from sweeps.run_dir.exported import ExportedJson, ExportedModel
from sweeps.run_dir.final_register import AskedOpening, FinalRegister, final_questions
from sweeps.run_dir.paths import SweepPaths, SweepRef
from sweeps.run_dir.training_pairs import TRAINING_PAIRS, TrainingPairs
from tests.support.ended_sweep import REWARD, scored_pairs, write_ended_sweep
from tests.support.exported_models import write_best

OTHER_LIMIT = "selection.guardrails.drift_chosen.limit=2"


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    """An ended sweep whose final split was never opened, with two checkpoints."""
    paths = write_ended_sweep(tmp_path)
    paths.store.delete(paths.final_opened)
    paths.storage.delete(".finals")
    paths.store.delete(paths.final_outcome("t0001", 8))
    for trial in ("t0000", "t0001"):
        paths.store.write(f"{paths.checkpoint(trial, 8)}/manifest.json", b"{}")
    return paths


class Worker:
    """Exports and scores in place of a worker, and notes what it was asked for."""

    def __init__(self, paths: SweepPaths) -> None:
        self.paths, self.calls = paths, []

    def __call__(self, function: Any, ref: SweepRef, *arguments: Any) -> ExportedJson | None:
        paths = self.paths
        assert read_openings(paths) or arguments[-1] == "select"
        assert not paths.store.exists(paths.selection)
        if function is _score_remotely:
            incumbent, split = arguments
            self.calls.append(split)
            scored = write_outcomes(scored_pairs(44, 0.2, 5), {"path": incumbent.path})
            paths.store.write(paths.incumbent_outcome(split), scored)
            return None
        assert function is export_and_score
        trial, step, asked_dtype = arguments
        self.calls.append(trial)
        if final_outcomes(paths, trial, step) is None:
            final = write_outcomes(scored_pairs(45, 0.4, 9), {"step": step})
            paths.store.write(paths.final_outcome(trial, step), final)
        return write_best(paths, trial, step, asked_dtype)


def finalized(paths: SweepPaths, worker: Worker, *overrides: str, again: bool = False) -> Any:
    config = replayed_config(paths, ["selection.sample_prompts=0", *overrides])
    records = ledger.read(paths.store, paths.ledger)
    return finalize_sweep(config, paths, records, worker, open_final_again=again)


def test_final_is_opened_the_winner_exported_and_everything_written(paths: SweepPaths) -> None:
    worker = Worker(paths)
    selection = finalized(paths, worker)
    assert worker.calls == ["t0001"]
    assert decode_json(paths.store.read(paths.selection)) == selection
    assert selection["winner"]["path"] == f"{paths.store.uri}/best"
    assert selection["verdict"]["word"] == "better"
    [opening] = read_openings(paths)
    assert opening.why == f"t0001 at step 8 by {REWARD}"
    assert "t0001, step 8" in paths.store.read(f"{paths.best}/README.md").decode()


def test_a_second_call_runs_no_model_and_gives_the_same(paths: SweepPaths) -> None:
    first = finalized(paths, Worker(paths))
    paths.store.delete(paths.selection)
    worker = Worker(paths)
    assert finalized(paths, worker) == first
    assert worker.calls == []
    assert replay(replayed_config(paths, ["selection.sample_prompts=0"]), paths) == first


@pytest.mark.parametrize("damage", ["model.safetensors", "adapter/adapter_model.safetensors"])
@pytest.mark.parametrize("content", [b"", None])
def test_a_damaged_export_is_made_again_and_final_is_not_scored_again(
    paths: SweepPaths, damage: str, content: bytes | None
) -> None:
    first, name = finalized(paths, Worker(paths)), f"{paths.best}/{damage}"
    paths.store.delete(paths.selection)
    paths.store.delete(name)
    if content is not None:
        paths.store.write(name, content)
    worker = Worker(paths)
    assert finalized(paths, worker) == first
    assert worker.calls == ["t0001"]
    assert ExportedModel.of(paths).is_whole()


def test_another_dtype_is_exported_again(paths: SweepPaths) -> None:
    finalized(paths, Worker(paths))
    for dtype in ("float32", "null"):
        paths.store.delete(paths.selection)
        worker = Worker(paths)
        finalized(paths, worker, f"export.dtype={dtype}")
        assert worker.calls == ["t0001"]


def test_what_storing_loses_is_said(
    paths: SweepPaths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lossy = {"dtype": "bfloat16", "chosen": 2.0, "stored": 1.3, "lost": 0.35}
    manifest = write_best(paths, "t0001", 8)
    for margins, level, said in (
        ({"margins": lossy}, logging.WARNING, "35 % of the winner's margins .* are lost"),
        ({"rejected": lossy}, logging.INFO, "stored in float32: .* 35 % .* would be lost"),
    ):
        caplog.clear()
        with caplog.at_level(logging.INFO, "dpo_sweeps"):
            _log_losses({**manifest, **margins}, paths)
        [record] = caplog.records
        assert record.levelno == level
        assert re.search(said, record.message)


def test_another_winner_needs_final_to_be_opened_again(paths: SweepPaths) -> None:
    finalized(paths, Worker(paths))
    before = paths.store.read(paths.selection)
    with pytest.raises(FinalSpent, match=r"was opened on .* for t0001 at step 8"):
        finalized(paths, Worker(paths), OTHER_LIMIT)
    assert paths.store.read(paths.selection) == before
    paths.store.delete(paths.selection)
    worker = Worker(paths)
    selection = finalized(paths, worker, OTHER_LIMIT, again=True)
    assert (worker.calls, selection["winner"]["trial"]) == (["t0000"], "t0000")
    assert [o["forced"] for o in selection["final_opened"]] == [False, True]


def test_the_incumbent_is_scored_on_select_and_after_the_opening_on_final(
    paths: SweepPaths, tmp_path: Path
) -> None:
    Store.open(tmp_path).write("other/best/config.json", b"{}")
    worker = Worker(paths)
    selection = finalized(paths, worker, f"selection.incumbent={tmp_path}/other")
    assert worker.calls == ["select", "t0001", "final"]
    assert selection["verdict"]["against"] == "incumbent"


def test_openings_are_counted_over_the_sweeps_of_a_storage(
    paths: SweepPaths, tmp_path: Path
) -> None:
    asked = AskedOpening("older", None, "t0003 at step 2", "reference", "c", "2025-12-01")
    FinalRegister.of(paths.storage).record(asked, final_questions(paths), 2)
    selection = finalized(paths, Worker(paths), "selection.final_openings=9")
    [opening] = selection["final_opened"]
    assert (opening["number"], opening["declared"]) == (2, 2)
    assert selection["verdict"]["word"] == "better"
    assert "for 2 openings of final" in selection["verdict"]["sentence"]


def test_an_opening_beyond_those_declared_gets_numbers_and_no_verdict(paths: SweepPaths) -> None:
    finalized(paths, Worker(paths))
    paths.store.delete(paths.selection)
    selection = finalized(paths, Worker(paths), OTHER_LIMIT, again=True)
    assert selection["verdict"]["word"] == "no verdict"
    assert selection["verdict"]["difference"] is not None
    assert selection["final"]["total"] == 60


def test_a_kill_after_the_opening_is_no_further_opening(paths: SweepPaths) -> None:
    def killed(function: Any, *arguments: Any) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            finalized(paths, killed)  # type: ignore[arg-type]
    finalized(paths, Worker(paths))
    [opening] = FinalRegister.of(paths.storage).openings()
    assert (opening.sweep, opening.number) == (paths.sweep_id, 1)


def test_the_register_knows_the_night_and_the_opponent(paths: SweepPaths, tmp_path: Path) -> None:
    night = {"night": "2026-01-02", "sweep": "old", "incumbent": None, "control": None}
    night |= {"code": {}, "workers": 1, "gpus_per_worker": 0}
    json_files.NIGHT.write(paths.store, paths.night, night)
    Store.open(tmp_path).write("other/best/config.json", b"{}")
    finalized(paths, Worker(paths), f"selection.incumbent={tmp_path}/other")
    [opening] = FinalRegister.of(paths.storage).openings()
    assert (opening.night, opening.against) == ("2026-01-02", f"{tmp_path}/other/best")


def test_an_incumbent_that_was_trained_on_final_is_refused_before_final_is_opened(
    paths: SweepPaths, tmp_path: Path
) -> None:
    store = Store.open(tmp_path)
    store.write("other/best/config.json", b"{}")
    trained = TrainingPairs(frozenset({"p07"}), frozenset())
    store.write(f"other/best/{TRAINING_PAIRS}", trained.encode())
    worker = Worker(paths)
    with pytest.raises(SettingsError, match=r"was trained on 1 of this sweep's final pairs"):
        finalized(paths, worker, f"selection.incumbent={tmp_path}/other")
    assert worker.calls == ["select"]
    assert FinalRegister.of(paths.storage).openings() == []


def test_without_a_winner_final_stays_shut_and_nothing_is_exported(paths: SweepPaths) -> None:
    worker = Worker(paths)
    selection = finalized(paths, worker, "selection.guardrails.drift_chosen.limit=0.05")
    assert selection["winner"] is None
    assert worker.calls == []
    assert not paths.store.exists(paths.final_opened)
    assert not paths.store.exists(f"{paths.best}/README.md")
    assert decode_json(paths.store.read(paths.selection)) == selection
