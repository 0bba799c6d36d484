"""The choice replayed on the folder of a sweep that ended, without Ray or a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.errors import SettingsError, UserError
from dpo_core.evaluation.outcomes import OBJECTIVES, Outcomes, write_outcomes
from dpo_core.storage.store import Store
from sweeps.finalize.final_split import open_final
from sweeps.reselect import replay, replayed_config
from sweeps.run_dir import ledger
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord
from sweeps.run_dir.paths import SweepPaths

REWARD, TOKEN, _ = OBJECTIVES
PAIRS = 60


def outcomes(right: int, drift: float, seed: int) -> Outcomes:
    """Right on `right` of 60 pairs; chosen answers of 10 tokens moved by `drift` nats a token."""
    order = np.random.default_rng(seed).permutation(PAIRS)
    margin = np.where(order < right, 1.0, -1.0)
    chosen = np.full(PAIRS, 10.0 * drift)
    zero, tokens = np.zeros(PAIRS), np.full(PAIRS, 10)
    ids = tuple(f"p{i:02d}" for i in range(PAIRS))
    return Outcomes(ids, chosen, chosen - margin, zero, zero, tokens, tokens + order % 2)


# trial: right on select, drift; in the order of how good they look
TRIALS = {"t0000": (55, 1.5), "t0001": (45, 0.4), "t0002": (30, 0.1)}


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    """Three trials of one evaluation; t0001 won, for t0000 drifted over the limit."""
    paths = SweepPaths(Store.open(tmp_path), "old")
    tree = {
        "name": "toy",
        "model": {"path": "anywhere"},
        "data": {"path": "anywhere.jsonl"},
        "space": "lora",
        "training": {"max_steps": 8},
        "search": {"trials": 3},
    }
    paths.store.write(paths.config, f"{yaml.safe_dump(tree)}...\n".encode())
    for split in ("select", "final"):
        rows = [{"id": f"p{i:02d}", "group": f"g{i // 2}", "prompt": "?"} for i in range(PAIRS)]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        paths.store.write(paths.split(split), lines.encode())
        encoded = (EncodedPair(row["id"], (1,), (2,), (3,)) for row in rows)
        with paths.store.writing(paths.encoded(split)) as file:
            TokenTable.write(encoded, file)
    for seed, (trial, (right, drift)) in enumerate(TRIALS.items()):
        scored = outcomes(right, drift, seed)
        paths.store.write(paths.outcome(trial, 8), write_outcomes(scored, {"step": 8}))
        counts = {
            name: {"correct": c.correct, "ties": c.ties, "total": c.total}
            for name, c in scored.counts().items()
        }
        evaluation = EvaluationRecord(
            8, 0.5, counts, {}, {"drift_chosen": drift, "drift_rejected": 0.0}
        )
        record = TrialRecord(trial, {"beta": 0.1}, "finished", 0, (evaluation,))
        ledger.append(paths.store, paths.ledger, record)
    paths.store.write(
        paths.final_outcome("t0001", 8), write_outcomes(outcomes(45, 0.4, 9), {"step": 8})
    )
    open_final(paths.store, paths.final_opened, f"t0001 at step 8 by {REWARD}", "2026-01-01")
    return paths


def replayed(paths: SweepPaths, *overrides: str):
    return replay(replayed_config(paths, overrides), paths)


def test_the_same_settings_give_the_same_choice_and_its_verdict(paths: SweepPaths) -> None:
    told = replayed(paths)
    assert (told["winner"]["trial"], told["winner"]["step"]) == ("t0001", 8)
    verdict = told["verdict"]
    assert (verdict["word"], verdict["against"]) == ("better", "reference")
    assert verdict["difference"] == 0.25  # 45 of 60, less one half
    assert verdict["interval"][0] > 0
    assert told["final"]["correct"] == 45
    assert told["runner_up"]["trial"] == "t0002"
    assert [o["why"] for o in told["final_opened"]] == [f"t0001 at step 8 by {REWARD}"]


def test_every_candidate_is_told_with_what_was_held_against_it(paths: SweepPaths) -> None:
    rows = {row["trial"]: row for row in replayed(paths)["candidates"]}
    assert list(rows) == list(TRIALS), "most accurate first"
    assert [row["admissible"] for row in rows.values()] == [False, True, True]
    assert [row["shortlisted"] for row in rows.values()] == [False, True, False]
    assert rows["t0000"]["guardrails"]["drift_chosen"] == {
        "value": 1.5,
        "limit": 1.0,
        "passed": False,
    }
    assert rows["t0001"]["guardrails"]["length_growth"]["passed"] is None
    assert rows["t0001"]["against"]["best"]["difference"] == 0.0
    assert rows["t0002"]["against"]["best"]["difference"] == -0.25
    assert rows["t0002"]["against"]["reference"]["difference"] == 0.0
    assert (
        rows["t0001"]["against"]["reference"]["p_holm"]
        >= (rows["t0001"]["against"]["reference"]["p_value"])
    )


def test_another_limit_lets_another_win_but_final_stays_shut_for_it(paths: SweepPaths) -> None:
    files = {p: p.read_bytes() for p in Path(paths.store.uri).rglob("*") if p.is_file()}
    told = replayed(paths, "selection.guardrails.drift_chosen.limit=2")
    assert told["winner"]["trial"] == "t0000"
    assert told["winner"]["path"] is None
    assert told["verdict"]["word"] is None
    assert "t0000 at step 8 would win; final was never opened" in told["verdict"]["sentence"]
    assert "checkpoint is gone" in told["verdict"]["sentence"]
    assert "final" not in told
    now = {p: p.read_bytes() for p in Path(paths.store.uri).rglob("*") if p.is_file()}
    assert now == files, "a replay leaves the folder as it is"


def test_warn_is_told_and_does_not_exclude(paths: SweepPaths) -> None:
    told = replayed(paths, "selection.guardrails.drift_chosen.action=warn")
    assert told["winner"]["trial"] == "t0000"
    assert told["guardrails"]["drift_chosen"] == {"limit": 1.0, "action": "warn"}


def test_another_objective_is_another_look_at_final(paths: SweepPaths) -> None:
    told = replayed(paths, f"selection.objective={TOKEN}")
    assert told["objective"] == TOKEN
    assert told["verdict"]["word"] is None


def test_nothing_admissible(paths: SweepPaths) -> None:
    told = replayed(paths, "selection.guardrails.drift_chosen.limit=0.05")
    assert (told["winner"], told["runner_up"]) == (None, None)
    assert told["verdict"]["word"] == "no admissible candidate"
    assert "drift_chosen 3" in told["verdict"]["sentence"]
    assert not any(row["shortlisted"] for row in told["candidates"])
    json.dumps(told, allow_nan=False)


def test_a_permuted_ledger_gives_the_same_selection_to_the_byte(paths: SweepPaths) -> None:
    before = json.dumps(replayed(paths))
    lines = paths.store.read(paths.ledger).splitlines(keepends=True)
    paths.store.write(paths.ledger, b"".join(reversed(lines)))
    assert json.dumps(replayed(paths)) == before


def test_stored_answers_are_held_against_the_one_who_gave_them(paths: SweepPaths) -> None:
    def row(tokens: int) -> list[dict]:
        return [{"text": "", "tokens": list(range(tokens)), "ended": True}]

    by = {"reference": row(10), "t0001-step-000008": row(30)}
    paths.store.write(paths.answers, json.dumps({"by": by}).encode())
    told = replayed(paths)
    assert told["winner"]["trial"] == "t0002", "t0001 writes three times as long"
    [excluded] = [row for row in told["candidates"] if row["trial"] == "t0001"]
    assert excluded["guardrails"]["length_growth"]["value"] == 3.0


def test_only_the_selection_can_be_other(paths: SweepPaths) -> None:
    with pytest.raises(SettingsError, match=r"only keys of selection\.\* can be set"):
        replayed(paths, "seed=3")
    with pytest.raises(SettingsError, match="Input should be 'warn' or 'exclude'"):
        replayed(paths, "selection.guardrails.displaced.action=ignore")


def test_a_sweep_that_has_not_ended_is_refused(paths: SweepPaths) -> None:
    lines = paths.store.read(paths.ledger).splitlines(keepends=True)
    paths.store.write(paths.ledger, b"".join(lines[:2]))
    with pytest.raises(UserError, match="1 of 3 trials have not ended; `dpo-sweeps resume`"):
        replayed(paths)


def test_an_incumbent_must_be_a_model_and_have_been_scored(paths: SweepPaths, tmp_path) -> None:
    with pytest.raises(SettingsError, match=r"is no exported model and no sweep with a best/"):
        replayed(paths, f"selection.incumbent={tmp_path}/nothing")
    Store.open(tmp_path).write("other/best/config.json", b"{}")
    with pytest.raises(UserError, match="was never scored on this sweep's pairs; --write does"):
        replayed(paths, f"selection.incumbent={tmp_path}/other")


def test_the_verdict_is_against_the_incumbent_when_there_is_one(
    paths: SweepPaths, tmp_path
) -> None:
    Store.open(tmp_path).write("other/best/config.json", b"{}")
    about = {"path": f"{tmp_path}/other/best"}
    for split, right in (("select", 44), ("final", 47)):
        content = write_outcomes(outcomes(right, 0.2, 5), about)
        paths.store.write(paths.incumbent_outcome(split), content)
    told = replayed(paths, f"selection.incumbent={tmp_path}/other")
    assert (told["incumbent"]["name"], told["incumbent"]["path"]) == ("other", about["path"])
    assert told["incumbent"]["final"]["correct"] == 47
    assert (told["verdict"]["word"], told["verdict"]["against"]) == (
        "not distinguishable",
        "incumbent",
    )
    assert told["verdict"]["difference"] == pytest.approx(-2 / 60)
    assert set(told["candidates"][0]["against"]) == {"best", "reference", "incumbent"}
