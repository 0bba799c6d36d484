"""selection.json: its keys, with and without a winner, before and after final was opened."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dpo_core.evaluation.outcomes import write_outcomes
from sweeps.finalize.incumbent import Incumbent
from sweeps.finalize.selection_json import SelectionInputs, selection_json, why_opened
from sweeps.reselect import replayed_config
from sweeps.run_dir import json_files, ledger
from sweeps.run_dir.paths import SweepPaths
from sweeps.selection.candidates import CandidateReader
from sweeps.selection.leaderboard import trial_rows
from sweeps.selection.rule import choose
from sweeps.selection.split_scores import reference_scores, split_scores
from sweeps.selection.statistics import Groups
from tests.support.ended_sweep import (
    PAIRS,
    REWARD,
    TOKEN,
    open_final_of,
    scored_pairs,
    write_ended_sweep,
)

KEYS = {
    *("sweep", "folder", "base_model", "objective", "verdict", "winner", "incumbent", "runner_up"),
    *("guardrails", "candidates", "pareto", "confirmation", "final_opened", "trials"),
    *("trial_counts", "trial_seconds"),
}
INCUMBENT = Incumbent("production", "/models/production")


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return write_ended_sweep(tmp_path)


def content(
    paths: SweepPaths, *overrides: str, incumbent: Incumbent | None = None
) -> dict[str, Any]:
    config = replayed_config(paths, overrides)
    reader, records = (
        CandidateReader(paths, config.selection),
        ledger.read(paths.store, paths.ledger),
    )
    candidates = reader.candidates(records)
    choice = choose(candidates, reader.groups)
    inputs = SelectionInputs(records, candidates, [], candidates, choice, reader.rules, incumbent)
    selection = selection_json(config, paths, inputs)
    json.dumps(selection, allow_nan=False)
    return selection


def score_incumbent(paths: SweepPaths, *splits: str, right: int = 44) -> None:
    for split in splits:
        outcomes = write_outcomes(scored_pairs(right, 0.2, 5), {"path": INCUMBENT.path})
        paths.store.write(paths.incumbent_outcome(split), outcomes)


def test_all_keys_with_a_winner(paths: SweepPaths) -> None:
    selection = content(paths)
    assert set(selection) == KEYS | {"select", "final", "reference"}
    assert (selection["sweep"], selection["folder"]) == ("old", paths.store.uri)
    assert (selection["base_model"], selection["objective"]) == ("anywhere", REWARD)
    assert selection["winner"] == {
        "trial": "t0001",
        "point": {"beta": 0.1, "learning_rate": 1e-5},
        "step": 8,
        "seed": 0,
        "path": None,  # best/ does not hold it
    }
    assert selection["incumbent"] is None
    assert selection["confirmation"] == []
    assert selection["pareto"] == [
        {"trial": t, "step": 8, "accuracy": a, "drift": pytest.approx(d)}
        for t, a, d in (("t0001", 0.75, 0.4), ("t0002", 0.55, 0.1))
    ]
    assert selection["final_opened"] == [
        {
            "when": "2026-01-01",
            "why": f"t0001 at step 8 by {REWARD}",
            "forced": False,
            "against": "reference",
            "number": 1,
            "declared": 1,
        }
    ]
    assert selection["trials"] == trial_rows(ledger.read(paths.store, paths.ledger), REWARD)
    assert selection["guardrails"]["drift_chosen"] == {"limit": 0.5, "action": "exclude"}


def test_scores_are_of_the_winner_and_of_the_reference(paths: SweepPaths) -> None:
    selection = content(paths)
    groups = Groups.of([f"g{i // 2}" for i in range(PAIRS)])
    for split, outcomes in (
        ("select", scored_pairs(45, 0.4, 1)),
        ("final", scored_pairs(45, 0.4, 9)),
    ):
        assert selection[split] == split_scores(outcomes, REWARD, groups=groups)
        assert selection["reference"][split] == reference_scores(outcomes, REWARD)
    second = selection["runner_up"]
    assert (second["trial"], second["step"]) == ("t0002", 8)
    assert second["select"] == split_scores(scored_pairs(33, 0.1, 2), REWARD, groups=groups)


def test_the_path_is_that_of_best_once_it_holds_the_winner(paths: SweepPaths) -> None:
    paths.store.write(f"{paths.best}/config.json", b"{}")
    for step, path in ((4, None), (8, f"{paths.store.uri}/best")):
        about = json.dumps({"trial": "t0001", "step": step}).encode()
        paths.store.write(f"{paths.best}/dpo-sweeps.json", about)
        assert content(paths)["winner"]["path"] == path


def test_before_final_was_opened_the_verdict_has_no_word(paths: SweepPaths) -> None:
    overrides = (f"selection.objective={TOKEN}", "selection.guardrails.drift_chosen.limit=0.5")
    selection = content(paths, *overrides)
    assert "final" not in selection
    assert set(selection["reference"]) == {"select"}
    sentence = "t0001 at step 8 would win; final was never opened for it, "
    assert selection["verdict"] == {
        "word": None,
        "sentence": f"{sentence}and its checkpoint is gone",
        "against": "reference",
        "difference": None,
        "interval": None,
        "p_value": None,
        "threshold": 0.1,
        "effect": None,
        "confirmed": None,
    }
    paths.store.write(f"{paths.checkpoint('t0001', 8)}/manifest.json", b"{}")
    assert content(paths, *overrides)["verdict"]["sentence"] == f"{sentence}which takes --write"


def rewrite_opening(paths: SweepPaths, **changes: object) -> None:
    [opening] = json_files.FINAL_OPENED.required(paths.store, paths.final_opened)
    json_files.FINAL_OPENED.write(paths.store, paths.final_opened, [{**opening, **changes}])


def test_the_p_value_pays_all_openings_that_were_declared(paths: SweepPaths) -> None:
    once = content(paths)["verdict"]
    rewrite_opening(paths, number=2, declared=3)
    thrice = content(paths)["verdict"]
    assert thrice["p_value"] == pytest.approx(3 * once["p_value"])
    assert thrice["word"] == once["word"] == "better"
    rewrite_opening(paths, number=4, declared=3)
    beyond = content(paths)["verdict"]
    assert {**beyond, "word": None, "sentence": None} == {**thrice, "word": None, "sentence": None}
    assert beyond["word"] == "no verdict"


def test_another_opponent_needs_another_opening(paths: SweepPaths) -> None:
    score_incumbent(paths, "select", "final")
    assert content(paths, incumbent=INCUMBENT)["verdict"]["word"] is None
    assert "final" not in content(paths, incumbent=INCUMBENT)
    open_final_of(
        paths, f"t0001 at step 8 by {REWARD}", "2026-01-02", against=INCUMBENT.path, force=True
    )
    assert content(paths, incumbent=INCUMBENT)["verdict"]["word"] == "no verdict"
    assert content(paths)["verdict"]["word"] == "better"


def test_an_opening_of_an_earlier_version_counts_as_one(paths: SweepPaths) -> None:
    why = f"t0001 at step 8 by {REWARD}"
    earlier = [{"when": "2026-01-01", "why": why, "forced": False}]
    json_files.FINAL_OPENED.write(paths.store, paths.final_opened, earlier)
    assert content(paths)["verdict"]["word"] == "better"
    assert content(paths)["final_opened"] == earlier


def test_the_incumbent_stands_beside_the_winner(paths: SweepPaths) -> None:
    score_incumbent(paths, "select", "final")
    rewrite_opening(paths, against=INCUMBENT.path)
    selection = content(paths, incumbent=INCUMBENT)
    shown = selection["incumbent"]
    assert (shown["name"], shown["path"]) == ("production", "/models/production")
    assert (shown["select"]["correct"], shown["final"]["correct"]) == (44, 44)
    assert selection["verdict"]["against"] == "incumbent"
    assert selection["verdict"]["difference"] == pytest.approx(1 / 60)
    assert all(set(row["against"]) >= {"reference", "incumbent"} for row in selection["candidates"])
    [row] = [row for row in selection["candidates"] if row["trial"] == "t0001"]
    assert row["against"]["incumbent"]["difference"] == pytest.approx(1 / 60)


def test_the_incumbents_final_scores_are_read_once_final_was_opened(paths: SweepPaths) -> None:
    score_incumbent(paths, "select")
    selection = content(paths, f"selection.objective={TOKEN}", incumbent=INCUMBENT)
    assert set(selection["incumbent"]) == {"name", "path", "select"}
    assert selection["verdict"]["against"] == "incumbent"


def test_without_a_winner_there_are_no_scores(paths: SweepPaths) -> None:
    score_incumbent(paths, "select")
    overrides = ("selection.guardrails.drift_chosen.limit=0.05",)
    selection = content(paths, *overrides, incumbent=INCUMBENT)
    assert set(selection) == KEYS
    assert [selection[key] for key in ("winner", "runner_up", "incumbent")] == [None] * 3
    assert selection["pareto"] == []
    assert selection["verdict"]["sentence"] == (
        "none of 3 candidates that moved the model is admissible, so keep the incumbent; "
        "excluded by guardrails: drift_chosen 3"
    )


def test_without_an_evaluation_there_are_no_candidates(paths: SweepPaths) -> None:
    for trial in ("t0000", "t0001", "t0002"):
        paths.store.delete(paths.outcome(trial, 8))
    selection = content(paths)
    assert selection["candidates"] == []
    assert selection["verdict"]["sentence"] == "no trial was ever evaluated"


def test_final_is_opened_for_a_checkpoint_and_an_objective(paths: SweepPaths) -> None:
    reader = CandidateReader(paths, replayed_config(paths, ()).selection)
    [first, *_] = reader.candidates(ledger.read(paths.store, paths.ledger))
    assert why_opened(first, REWARD) == "t0000 at step 8 by reward_accuracy"


def test_the_verdict_has_what_the_winner_did_to_the_final_pairs(paths: SweepPaths) -> None:
    write_answers(paths, reference=["a", "b"], **{"t0001-step-000008": ["a", "c"]})
    verdict = content(paths)["verdict"]
    assert (verdict["threshold"], verdict["confirmed"]) == (0.1, None)
    effect = verdict["effect"]
    assert (effect["pairs"], effect["moved"]) == (PAIRS, 1.0)
    assert (effect["median_margin"], effect["mean_margin"]) == (1.0, 0.5)
    assert effect["chosen_gain"] == pytest.approx(0.4)
    assert effect["answers_differ"] == 0.5
    # margins of 1 nat for 45 pairs and −1 for 15, at β = 0.1
    loss = 0.75 * math.log1p(math.exp(-0.1)) + 0.25 * math.log1p(math.exp(0.1))
    assert effect["held_out_loss"] == pytest.approx(loss)
    assert effect["reference_loss"] == pytest.approx(math.log(2))


def test_pairs_that_the_winner_did_not_move_count_half(paths: SweepPaths) -> None:
    """A threshold above every margin: nothing moved on final, so there is no gain to show."""
    prepared = json.loads(paths.store.read(paths.prepared))
    paths.store.write(paths.prepared, json.dumps({**prepared, "margin_noise": 0.5}).encode())
    selection = content(paths)
    assert selection["winner"] is None, "margins of one nat are below three times the noise"
    assert "0.5 nats a margin, sets the threshold to 1.5 nats" in selection["verdict"]["sentence"]
    assert selection["verdict"]["threshold"] == 1.5


def write_answers(paths: SweepPaths, **texts: list[str]) -> None:
    by = {author: [{"text": t, "tokens": [1]} for t in each] for author, each in texts.items()}
    paths.store.write(paths.answers, json.dumps({"by": by}).encode())
