"""Guardrails, an incumbent and a second look, on trials that were really trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_core.storage.json_content import decode_json
from tests.support.driving import write_sweep
from tests.support.in_process import PLACES, command, sweeps_run
from tests.support.whole_sweeps import selection_of

pytestmark = pytest.mark.integration

LIMITS = {
    "drift_chosen": {"limit": 0.7},
    "drift_rejected": {"limit": 0.7},
    "length_bias": {"action": "warn"},
    "loops": {"action": "warn"},
}


@pytest.fixture(scope="module", params=PLACES)
def chosen(
    request: pytest.FixtureRequest,
    toy_model: Path,
    pairs_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Any]]:
    """A planted bad region: a learning rate that drifts twice as far and ranks just as well."""
    folder = tmp_path_factory.mktemp("chosen")
    sections = {
        "space": {"beta": 0.1, "learning_rate": {"choice": [0.002, 0.03]}},
        "training": {"max_steps": 8, "batch_pairs": 4, "evaluations": 1},
        "search": {"trials": 2, "sampler": "random"},
        "selection": {
            "guardrails": LIMITS,
            "sample_prompts": 3,
            "sample_tokens": 8,
            "final_openings": 2,  # a second sweep opens the same final
        },
        "seed": 0,
    }
    path = write_sweep(folder, toy_model, pairs_file, **sections)
    with sweeps_run(request):
        selection = selection_of(command("run", str(path), "--json", "--id", "first"))
        yield {"selection": selection, "yaml": path, "folder": folder / "runs" / "first"}


def test_what_drifted_too_far_is_excluded(chosen: dict[str, Any]) -> None:
    selection = chosen["selection"]
    rows = {row["point"]["learning_rate"]: row for row in selection["candidates"]}
    assert set(rows) == {0.002, 0.03}, "the seed must draw both"
    assert rows[0.03]["accuracy"] == max(row["accuracy"] for row in rows.values())
    assert not rows[0.03]["admissible"]
    assert rows[0.03]["drift"] > 0.7
    assert selection["winner"]["point"]["learning_rate"] == 0.002
    assert selection["winner"]["trial"] == rows[0.002]["trial"]


def test_the_winner_and_the_reference_answered_and_nobody_else(chosen: dict[str, Any]) -> None:
    answers = decode_json((chosen["folder"] / "answers.json").read_bytes())
    winner = f"{chosen['selection']['winner']['trial']}-step-000008"
    assert set(answers["by"]) == {"reference", winner}
    lines = (chosen["folder"] / "splits" / "select.jsonl").read_text().splitlines()
    prompts = {row["id"]: row["prompt"] for row in map(json.loads, lines)}
    assert len(answers["prompts"]) == 3
    assert all(prompts[p["id"]] == p["prompt"] for p in answers["prompts"])
    for rows in answers["by"].values():
        assert [0 < len(row["tokens"]) <= 8 or row["ended"] for row in rows] == [True] * 3
    [row] = [c for c in chosen["selection"]["candidates"] if c["admissible"]]
    lengths = {
        author: sum(len(a["tokens"]) for a in rows) / (sum(a["ended"] for a in rows) + 0.5)
        for author, rows in answers["by"].items()
    }
    growth = lengths[winner] / lengths["reference"]
    assert row["guardrails"]["length_growth"]["value"] == pytest.approx(growth)


def test_final_was_opened_once_for_the_winner(chosen: dict[str, Any]) -> None:
    [opening] = chosen["selection"]["final_opened"]
    winner = chosen["selection"]["winner"]
    assert opening["why"] == f"{winner['trial']} at step 8 by reward_accuracy"
    assert not opening["forced"]


def test_a_replay_says_the_same_and_the_winner_is_a_later_sweeps_incumbent(
    chosen: dict[str, Any],
) -> None:
    told = json.loads(command("select", str(chosen["folder"]), "--json").stdout)
    assert told == chosen["selection"]

    point = f"space={json.dumps(chosen['selection']['winner']['point'])}"
    settings = (point, "search.trials=1", f"selection.incumbent={chosen['folder']}")
    words = [word for key in settings for word in ("--set", key)]
    again = selection_of(command("run", str(chosen["yaml"]), "--json", "--id", "second", *words))
    incumbent = again["incumbent"]
    assert incumbent["name"] == "first"
    for split in ("select", "final"):
        assert incumbent[split]["correct"] == chosen["selection"][split]["correct"]
        assert incumbent[split]["correct"] == again[split]["correct"], (
            "the same point, trained again"
        )
    verdict = again["verdict"]
    assert (verdict["word"], verdict["against"]) == ("not distinguishable", "incumbent")
    assert verdict["difference"] == 0.0


def test_a_second_look_at_final_is_refused_then_recorded(chosen: dict[str, Any]) -> None:
    folder = chosen["folder"]
    loose = "selection.objective=token_reward_accuracy"
    refused = command("select", str(folder), "--set", loose, "--write")
    assert refused.returncode == 2
    assert "the final split was opened on" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert decode_json((folder / "selection.json").read_bytes()) == chosen["selection"]

    words = ("--set", loose, "--write", "--open-final-again", "--json")
    told = json.loads(command("select", str(folder), *words).stdout)
    assert told["objective"] == "token_reward_accuracy"
    assert [o["forced"] for o in told["final_opened"]] == [False, True]
    assert decode_json((folder / "selection.json").read_bytes()) == told
    assert yaml.safe_load((folder / "config.yaml").read_text())["selection"]["objective"] == (
        "token_reward_accuracy"
    )
