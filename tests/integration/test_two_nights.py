"""Two whole nights: the second, on Ray, knows the first and is judged against its winner."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ray.util.state import list_placement_groups

from dpo_core.evaluation.outcomes import read_outcomes
from dpo_core.storage.json_content import decode_json
from sweeps.run_dir import ledger
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared
from sweeps.search import warm_start
from sweeps.selection.ordering import best_accuracy
from tests.support.chats import chat_server
from tests.support.driving import write_sweep
from tests.support.in_process import command, sweeps_in_process
from tests.support.toys import LENIENT
from tests.support.whole_sweeps import run

pytestmark = [pytest.mark.ray, pytest.mark.integration]


def night_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    night: dict[str, Any] = json.loads(done.stdout)
    return night


@pytest.fixture(scope="module")
def nights(
    ray_cluster: str, toy_model: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("nights")
    sections = {
        "space": {"beta": {"log_uniform": [0.05, 0.5]}, "learning_rate": 0.02},
        "training": {"max_steps": 8, "batch_pairs": 4, "evaluations": 1},  # enough to win clearly
        "search": {"trials": 2, "sampler": "random"},
        "resources": {"driver_resource": "driver"},
        "selection": {**LENIENT, "final_openings": 2},  # thirty ask for more pairs
    }
    path = write_sweep(folder, toy_model, pairs_file, **sections)
    night = ("nightly", str(path), "--json", "--date")
    with chat_server() as chat, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPO_SWEEPS_WEBHOOK", chat.url)
        with sweeps_in_process():
            first = night_of(command(*night, "2026-11-23"))
        second = night_of(run(*night, "2026-11-24"))
        return {"first": first, "second": second, "told": chat.told}


def paths_of(night: dict[str, Any]) -> SweepPaths:
    return SweepPaths.of_folder(night["selection"]["folder"])


def test_the_first_winner_becomes_the_incumbent(nights: dict[str, Any]) -> None:
    first = nights["first"]
    assert first["selection"]["verdict"]["word"] == "better"
    assert first["selection"]["verdict"]["against"] == "reference"
    assert first["about"]["promoted"] is True
    assert nights["second"]["about"]["incumbent"]["path"] == first["selection"]["winner"]["path"]


def test_the_second_night_is_judged_against_it_on_the_same_final_pairs(
    nights: dict[str, Any],
) -> None:
    paths, selection = paths_of(nights["second"]), nights["second"]["selection"]
    assert selection["verdict"]["against"] == "incumbent"
    winner = selection["winner"]
    final, _ = read_outcomes(paths.store.read(paths.final_outcome(winner["trial"], winner["step"])))
    incumbent, _ = read_outcomes(paths.store.read(paths.incumbent_outcome("final")))
    assert sorted(final.ids) == sorted(incumbent.ids)
    before = nights["first"]["selection"]["final"]["accuracy"]
    assert selection["incumbent"]["final"]["accuracy"] == pytest.approx(before)


def test_the_control_ran_first_with_the_incumbents_point_and_gave_its_numbers(
    nights: dict[str, Any],
) -> None:
    first, second = nights["first"], paths_of(nights["second"])
    winner = first["selection"]["winner"]
    control, *others = ledger.read(second.store, second.ledger)
    assert nights["second"]["about"]["control"] == control.trial == "t0000"
    assert control.point == winner["point"]
    rows = {row["trial"]: row["accuracy"] for row in first["selection"]["trials"]}
    assert best_accuracy(control, "reward_accuracy") == rows[winner["trial"]]
    drawn = [r.point for r in ledger.read(paths_of(first).store, "ledger.jsonl")]
    assert len(others) == 1
    assert others[0].point not in drawn, "the second night draws on"


def test_the_second_night_knew_the_first_ones_trials(nights: dict[str, Any]) -> None:
    paths = paths_of(nights["second"])
    known = warm_start.read(paths, Prepared.read(paths).weights_sha256)
    assert [r.trial for r in known] == ["toy-2026-11-23/t0000", "toy-2026-11-23/t0001"]
    assert nights["second"]["about"]["warm_started"] == 2


def test_both_nights_are_told_and_stand_in_the_trend_and_the_report(
    nights: dict[str, Any],
) -> None:
    texts = [content["text"] for _, _, content in nights["told"]]
    assert [text.split(":")[0] for text in texts] == ["*toy-2026-11-23", "*toy-2026-11-24"]
    paths = paths_of(nights["second"])
    assert [row["night"] for row in decode_json(paths.store.read(paths.trend))] == [
        "2026-11-23",
        "2026-11-24",
    ]
    assert "2026-11-23" in paths.store.read(paths.report_page).decode()


def test_drivers_asked_for_the_safe_node(nights: dict[str, Any], ray_cluster: str) -> None:
    groups = list_placement_groups(address=ray_cluster, detail=True, limit=1000)
    bundles = [bundle["unit_resources"] for group in groups for bundle in group.bundles]
    drivers = [bundle for bundle in bundles if "driver" in bundle]
    # Lanes reuse a trial's driver, so that there is one at least.
    assert drivers
    assert all(re.fullmatch(r"0\.001", str(bundle["driver"])) for bundle in drivers)
