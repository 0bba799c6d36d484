"""The incumbent: which model it is, and its scores beside the sweep's."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo_core.errors import ModelError, SettingsError, UserError
from dpo_core.storage.store import Store
from sweeps.finalize.export import export_and_score
from sweeps.finalize.incumbent import (
    Incumbent,
    check_incumbent,
    find_incumbent,
    is_scored,
    refuse_trained_on_final,
    score_incumbent,
)
from sweeps.finalize.sample_answers import answer_with
from sweeps.finalize.stored_margins import LARGEST_LOSS, share_lost
from sweeps.reselect import replayed_config
from sweeps.run_dir import json_files
from sweeps.run_dir.exported import MANIFEST
from sweeps.run_dir.final_register import row_question
from sweeps.run_dir.outcome_files import read_outcomes_of
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.training_pairs import TRAINING_PAIRS, TrainingPairs
from tests.support.ended_sweep import PREPARED, write_ended_sweep
from tests.support.exported_models import write_best
from tests.support.local_calls import Calls, config_of

CHECKPOINT = ("t0000", 4)
NAME = "t0000-step-000004"


def test_an_incumbent_is_a_model_or_a_sweep_with_an_exported_one(tmp_path: Path) -> None:
    paths, store = write_ended_sweep(tmp_path), Store.open(tmp_path)

    def incumbent_at(folder: str) -> Incumbent | None:
        return find_incumbent(replayed_config(paths, [f"selection.incumbent={tmp_path}/{folder}"]))

    assert find_incumbent(replayed_config(paths, [])) is None
    store.write("model/config.json", b"{}")
    assert incumbent_at("model") == Incumbent("model", f"{tmp_path}/model")
    store.write("sweep/best/config.json", b"{}")
    assert incumbent_at("sweep") == Incumbent("sweep", f"{tmp_path}/sweep/best")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        SettingsError, match=r"empty is no exported model and no sweep with a best/"
    ):
        incumbent_at("empty")


@pytest.mark.parametrize(
    ("ids", "questions", "met"),
    [
        ({"p03", "p04", "x"}, set(), 2),
        (set(), {row_question("?")}, 60),  # other answers to the same prompts
        ({"x"}, {row_question("Is it safe?")}, 0),
    ],
)
def test_an_incumbent_that_was_trained_on_final_pairs_is_refused(
    tmp_path: Path, ids: set[str], questions: set[str], met: int
) -> None:
    paths, incumbent = write_ended_sweep(tmp_path), Incumbent("other", f"{tmp_path}/other/best")
    trained = TrainingPairs(frozenset(ids), frozenset(questions))
    Store.open(tmp_path).write(f"other/best/{TRAINING_PAIRS}", trained.encode())
    if met:
        with pytest.raises(SettingsError, match=f"trained on {met} of this sweep's final pairs"):
            refuse_trained_on_final(paths, incumbent)
    else:
        refuse_trained_on_final(paths, incumbent)


def test_an_incumbent_of_unknown_training_is_let_through(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = write_ended_sweep(tmp_path)
    with caplog.at_level("INFO", "dpo_sweeps"):
        refuse_trained_on_final(paths, Incumbent("production", f"{tmp_path}/production"))
    assert "nobody knows on which pairs" in caplog.text


def test_what_is_damaged_counts_as_not_scored(tmp_path: Path) -> None:
    paths, incumbent = write_ended_sweep(tmp_path), Incumbent("other", "elsewhere")
    assert not is_scored(paths, incumbent, "select")
    paths.store.write(paths.incumbent_outcome("select"), b"PAR1")
    assert not is_scored(paths, incumbent, "select")


def test_an_exported_model_is_scored_as_an_incumbent(
    prepared,
    tmp_path: Path,
) -> None:
    paths, call = prepared("{rank: 4}", str(tmp_path / "runs"), change=0.3), Calls()
    export_and_score(paths.ref, *CHECKPOINT, "auto")
    incumbent = Incumbent("toy-1", f"{paths.store.uri}/{paths.best}")
    for _ in range(2):
        score_incumbent(paths, incumbent, "final", call)
    assert call.count == 1
    assert paths.store.read(paths.incumbent_outcome("final"))
    assert is_scored(paths, incumbent, "final")
    assert not is_scored(paths, incumbent, "select")
    assert not is_scored(paths, Incumbent("other", "elsewhere"), "final")
    answers = answer_with(config_of(paths), paths, CHECKPOINT, incumbent, call)
    assert answers["by"]["incumbent"] == answers["by"][NAME], "the same model"


@pytest.mark.parametrize("adapter", ["{rank: 4}", "null"])
def test_the_margins_of_an_incumbent_are_those_of_what_was_chosen(
    prepared, tmp_path: Path, adapter: str
) -> None:
    """Also where the base is stored in bfloat16, to which the incumbent was once rounded."""
    paths = prepared(adapter, str(tmp_path / "runs"), change=0.01, base_dtype="bfloat16")
    export_and_score(paths.ref, *CHECKPOINT, "auto")
    score_incumbent(paths, Incumbent("toy-1", f"{paths.store.uri}/{paths.best}"), "select", Calls())
    chosen = read_outcomes_of(paths, paths.outcome(*CHECKPOINT)).margins("reward_accuracy")
    scored = read_outcomes_of(paths, paths.incumbent_outcome("select")).margins("reward_accuracy")
    assert share_lost(chosen, scored) <= LARGEST_LOSS


def test_an_incumbent_that_is_an_adapter_alone(prepared, tmp_path: Path) -> None:
    paths, call = prepared("{rank: 4}", str(tmp_path / "runs"), change=0.3), Calls()
    export_and_score(paths.ref, *CHECKPOINT, None)
    config = replayed_config(paths, [f"selection.incumbent={paths.store.uri}"])
    incumbent = find_incumbent(config)
    assert incumbent == Incumbent("toy-1", f"{paths.store.uri}/best")
    check_incumbent(config)
    score_incumbent(paths, incumbent, "select", call)
    chosen = read_outcomes_of(paths, paths.outcome(*CHECKPOINT)).margins("reward_accuracy")
    scored = read_outcomes_of(paths, paths.incumbent_outcome("select")).margins("reward_accuracy")
    assert abs(scored - chosen).max() < 1e-3
    answers = answer_with(config_of(paths), paths, CHECKPOINT, incumbent, call)
    assert answers["by"]["incumbent"] == answers["by"][NAME]


def test_half_precision_does_not_round_the_adapter_of_an_incumbent_away(
    prepared, tmp_path: Path
) -> None:
    """It scores what the same checkpoint scored as a trial's."""
    half = ["model.dtype=bfloat16", "selection.score_dtype=model"]
    paths = prepared(
        "{rank: 4}", str(tmp_path / "runs"), change=0.003, base_dtype="bfloat16", settings=half
    )
    export_and_score(paths.ref, *CHECKPOINT, "auto")
    score_incumbent(paths, Incumbent("toy-1", f"{paths.store.uri}/{paths.best}"), "select", Calls())
    chosen = read_outcomes_of(paths, paths.outcome(*CHECKPOINT)).margins("reward_accuracy")
    scored = read_outcomes_of(paths, paths.incumbent_outcome("select")).margins("reward_accuracy")
    assert abs(chosen).max() > 0
    assert (scored == chosen).all()


def test_an_adapter_of_another_base_is_refused(prepared, tmp_path: Path) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"))
    manifest = export_and_score(paths.ref, *CHECKPOINT, None)
    other = {**manifest, "weights_sha256": "another"}
    json_files.EXPORTED.write(paths.store, f"{paths.best}/{MANIFEST}", other)
    incumbent = Incumbent("toy-1", f"{paths.store.uri}/{paths.best}")
    with pytest.raises(ModelError, match="is an adapter without its base model, which is another"):
        score_incumbent(paths, incumbent, "select", Calls())


def test_a_damaged_incumbent_is_refused(tmp_path: Path) -> None:
    paths = SweepPaths(Store.open(tmp_path), "old")
    write_best(paths, "t0001", 8)
    config = replayed_config(write_ended_sweep(tmp_path), [f"selection.incumbent={tmp_path}/old"])
    check_incumbent(config)
    paths.store.write(f"{paths.best}/model.safetensors", b"weights")
    said = r"old/best/model.safetensors: is missing or damaged; `dpo-sweeps resume .*old` exports"
    with pytest.raises(UserError, match=said):
        check_incumbent(config)
    incumbent = Incumbent("old", f"{paths.store.uri}/{paths.best}")
    with pytest.raises(UserError, match=said):
        incumbent.load(config.model, PREPARED, tmp_path, "cpu")


def test_an_incumbent_with_another_template_does_not_compare(
    prepared,
    tmp_path: Path,
) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"))
    export_and_score(paths.ref, *CHECKPOINT, "auto")
    template = Path(paths.store.uri, paths.best, "chat_template.jinja")
    template.write_text(template.read_text().replace("You answer", "They answer"))
    (template.parent / MANIFEST).unlink()  # as a model of other origin
    incumbent = Incumbent("toy-1", f"{paths.store.uri}/{paths.best}")
    with pytest.raises(ModelError, match="has another tokenizer or chat template"):
        score_incumbent(paths, incumbent, "select", Calls())
    assert not paths.store.exists(paths.incumbent_outcome("select"))
