"""What a sweep learns from: several sources, real human pairs, and data that teaches nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dpo_core.storage.store import Store
from sweeps.run_dir import ledger
from sweeps.run_dir.paths import SweepPaths
from tests.support.in_process import command
from tests.support.toys import LENIENT
from tests.support.whole_sweeps import selection_of

pytestmark = pytest.mark.integration


@pytest.mark.usefixtures("in_process")
def test_a_sweep_fed_from_several_sources(
    sweep_file: Callable[..., Path], pairs_file: Path, tmp_path: Path
) -> None:
    golden = [{"prompt": f"Is {n} much?", "golden": f"Yes, {n} is."} for n in range(24)]
    attacks = [
        {"prompt": f"Poison {n}?", "response": text, "label": label, "category": "poison"}
        for n in range(24)
        for text, label in (("I will not help.", "safe"), ("Take this.", "harmful"))
    ]
    for name, rows in (("golden", golden), ("attacks", attacks)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    data = {
        "sources": [
            {"path": str(pairs_file), "name": "humans", "weight": 2.0},
            {"path": str(tmp_path / "golden.jsonl"), "kind": "golden", "weight": 1.0},
            {"path": str(tmp_path / "attacks.jsonl"), "kind": "red_team", "weight": 1.0},
        ],
        "generation": {"max_new_tokens": 8},
        "max_tokens": 256,
        "min_similarity": 1.0,
    }
    selection = selection_of(command("run", str(sweep_file(data=data)), "--json"))
    kinds = {"humans", "golden", "attacks"}
    assert set(selection["select"]["by"]["source"]) == kinds
    assert set(selection["final"]["by"]["category"]) == {"poison", "none"}
    counted = [of["total"] for of in selection["final"]["by"]["source"].values()]
    assert sum(counted) == selection["final"]["total"]
    [record] = ledger.read(Store.open(selection["folder"]), "ledger.jsonl")
    assert set(record.evaluations[-1].slices["reward_accuracy"]["source"]) == kinds
    rows = [
        json.loads(line)
        for split in ("train", "select", "final")
        for line in Path(selection["folder"], f"splits/{split}.jsonl").read_text().splitlines()
    ]
    own = [row["rejected"][0]["content"] for row in rows if row["source"] == "golden"]
    assert 20 < len(own) <= 24
    assert all(own)
    assert len(set(own)) > 1, "the model answers different prompts differently"


def test_when_every_trial_fails_the_exit_code_says_so(
    place: None, sweep_file: Callable[..., Path]
) -> None:
    path = sweep_file(space={"beta": 0.1, "learning_rate": 1e30, "length_norm": "none"})
    done = command("run", str(path), "--set", "training.evaluations=1", "--id", "hopeless")
    assert done.returncode == 3
    assert "nan" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("in_process")
def test_real_human_pairs(
    sweep_file: Callable[..., Path], hh_harmless: Path, tmp_path: Path
) -> None:
    """Also with a URI as storage."""
    storage = f"file://{tmp_path}/runs"
    path = sweep_file(
        data={"path": str(hh_harmless), "max_tokens": 256},
        storage=storage,
        selection={**LENIENT, "min_margin": 0},  # a toy model learns nothing of them
    )
    selection = selection_of(command("run", str(path), "--json"))
    assert selection["folder"].startswith(storage)
    paths = SweepPaths.of_folder(selection["folder"])
    counted = {s: len(paths.store.read(paths.split(s)).splitlines()) for s in ("select", "final")}
    assert {s: selection[s]["total"] for s in counted} == counted
