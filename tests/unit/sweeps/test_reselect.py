"""The choice replayed on the folder of a sweep that ended, without Ray or a model."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from dpo_core.errors import SettingsError, UserError
from dpo_core.evaluation.outcomes import write_outcomes
from dpo_core.storage.store import Store
from sweeps.reselect import replay, replayed_config, rewrite
from sweeps.run_dir import json_files
from sweeps.run_dir.lock import Busy, lock
from sweeps.run_dir.paths import SweepPaths
from tests.support.ended_sweep import REWARD, TOKEN, scored_pairs, write_ended_sweep


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return write_ended_sweep(tmp_path)


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
    assert list(rows) == ["t0001", "t0002", "t0000"], "what is excluded comes last"
    assert [row["admissible"] for row in rows.values()] == [True, True, False]
    assert [row["shortlisted"] for row in rows.values()] == [True, False, False]
    assert rows["t0000"]["guardrails"]["drift_chosen"] == {
        "value": 1.5,
        "limit": 0.5,
        "passed": False,
    }
    assert rows["t0001"]["guardrails"]["length_growth"]["passed"] is None
    assert rows["t0001"]["against"]["best"]["difference"] == 0.0
    assert rows["t0002"]["against"]["best"]["difference"] == pytest.approx(-0.2)
    assert rows["t0002"]["against"]["reference"]["difference"] == pytest.approx(0.05)
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
    assert told["guardrails"]["drift_chosen"] == {"limit": 0.5, "action": "warn"}


def test_trials_stand_in_the_order_of_the_replayed_rule(paths: SweepPaths) -> None:
    """The most accurate trial drifted too far, until its drift is only warned of."""
    in_order = [row["trial"] for row in replayed(paths)["trials"]]
    assert in_order == ["t0001", "t0002", "t0000"]
    told = replayed(paths, "selection.guardrails.drift_chosen.action=warn")
    assert [row["trial"] for row in told["trials"]] == ["t0000", "t0001", "t0002"]


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


def test_without_a_threshold_what_did_nothing_can_win_as_it_could_before(paths: SweepPaths) -> None:
    """All margins are one nat; with a noise of half a nat no pair counts as moved."""
    prepared = json.loads(paths.store.read(paths.prepared))
    paths.store.write(paths.prepared, json.dumps({**prepared, "margin_noise": 0.5}).encode())
    told = replayed(paths)
    assert told["winner"] is None
    assert told["verdict"]["sentence"].startswith(
        "no trial surely moved the model, so keep the reference: the noise of half precision, 0.5 nats"
    )
    assert not any(row["eligible"] for row in told["candidates"])
    before = replayed(paths, "selection.min_margin=0")
    assert before["winner"]["trial"] == "t0001"
    assert (before["verdict"]["word"], before["verdict"]["threshold"]) == ("better", 0.0)
    assert "a pair counts" not in before["verdict"]["sentence"]


def test_a_permuted_ledger_gives_the_same_selection_to_the_byte(paths: SweepPaths) -> None:
    before = json.dumps(replayed(paths))
    lines = paths.store.read(paths.ledger).splitlines(keepends=True)
    paths.store.write(paths.ledger, b"".join(reversed(lines)))
    assert json.dumps(replayed(paths)) == before


def test_stored_answers_are_held_against_the_one_who_gave_them(paths: SweepPaths) -> None:
    def row(tokens: int) -> list[dict]:
        return [{"text": "", "tokens": list(range(tokens)), "ended": True}] * 8

    by = {"reference": row(10), "t0001-step-000008": row(30)}
    paths.store.write(paths.answers, json.dumps({"by": by}).encode())
    told = replayed(paths)
    assert told["winner"]["trial"] == "t0002", "t0001 writes three times as long"
    [excluded] = [row for row in told["candidates"] if row["trial"] == "t0001"]
    assert excluded["guardrails"]["length_growth"]["value"] == pytest.approx(3.0)


def test_only_the_selection_can_be_other(paths: SweepPaths) -> None:
    with pytest.raises(SettingsError, match=r"seed: is 0 .* start a new sweep"):
        replayed(paths, "seed=3")
    with pytest.raises(SettingsError, match="is unknown; use one of warn, exclude"):
        replayed(paths, "selection.guardrails.displaced.action=ignore")


@pytest.mark.parametrize(
    "override", ["selection.score_dtype=float32", "selection.score_dtype=model"]
)
def test_scores_that_are_there_keep_their_precision(paths: SweepPaths, override: str) -> None:
    with pytest.raises(SettingsError, match="held-out pairs were scored when they were"):
        replayed(paths, override)
    replayed(paths, "selection.score_dtype=auto")


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
        content = write_outcomes(scored_pairs(right, 0.2, 5), about)
        paths.store.write(paths.incumbent_outcome(split), content)
    assert replayed(paths, f"selection.incumbent={tmp_path}/other")["verdict"]["word"] is None
    [opening] = json_files.FINAL_OPENED.required(paths.store, paths.final_opened)
    row = {**opening, "against": about["path"]}
    json_files.FINAL_OPENED.write(paths.store, paths.final_opened, [row])
    told = replayed(paths, f"selection.incumbent={tmp_path}/other")
    assert (told["incumbent"]["name"], told["incumbent"]["path"]) == ("other", about["path"])
    assert told["incumbent"]["final"]["correct"] == 47
    assert (told["verdict"]["word"], told["verdict"]["against"]) == (
        "not distinguishable",
        "incumbent",
    )
    assert told["verdict"]["difference"] == pytest.approx(-2 / 60)
    assert set(told["candidates"][0]["against"]) == {"best", "reference", "incumbent"}


def test_a_choice_is_not_written_while_another_process_works_on_the_sweep(
    paths: SweepPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = paths.store.read(paths.selection) if paths.store.exists(paths.selection) else None
    with lock(paths.leases, paths.sweep_id), pytest.raises(Busy):
        rewrite(replayed_config(paths, []), paths, open_final_again=False)
    assert (
        paths.store.read(paths.selection) if paths.store.exists(paths.selection) else None
    ) == before


def test_a_choice_is_not_written_by_a_process_that_lost_the_lock(
    paths: SweepPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_over(*_: object) -> object:
        name = f"{paths.sweep_id}.json"
        note = {**json.loads(paths.leases.read(name)), "holder": "another", "fence": 9}
        paths.leases.write(name, json.dumps(note).encode())
        return contextlib.nullcontext()

    monkeypatch.setattr("sweeps.reselect.connected", contextlib.nullcontext)
    monkeypatch.setattr("sweeps.reselect.remote_call_for", taken_over)
    config = paths.store.read(paths.config)
    paths.store.write(f"{paths.checkpoint('t0001', 8)}/manifest.json", b"{}")
    with pytest.raises(Busy):
        rewrite(
            replayed_config(paths, ["selection.sample_prompts=0"]), paths, open_final_again=False
        )
    assert paths.store.read(paths.config) == config
    assert not paths.store.exists(paths.selection)
