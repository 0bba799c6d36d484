"""The nights: dated, resumed, warm-started, judged against the incumbent, and told once."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dpo_core.errors import SettingsError, StorageError, UserError
from dpo_core.storage.json_content import decode_json
from dpo_core.storage.store import Store
from sweeps.config.load import parse_sweep
from sweeps.config.nightly import NightSettings
from sweeps.config.schema import SweepConfig
from sweeps.nightly.code_version import code_version
from sweeps.nightly.run_night import Night, run_night
from sweeps.run_dir import json_files, ledger
from sweeps.run_dir import lock as locks
from sweeps.run_dir.ledger import FINISHED
from sweeps.run_dir.lock import Busy
from sweeps.run_dir.paths import NightPaths, SweepPaths
from sweeps.search import warm_start
from sweeps.selection.ordering import best_accuracy
from tests.support import bucket  # noqa: F401  (registers the scheme)
from tests.support.exported_models import write_best
from tests.support.repository import ROOT
from tests.support.scripted_nights import Scripted, night_config

MONDAY, TUESDAY, WEDNESDAY = (date(2026, 11, day) for day in (23, 24, 25))
SAME, NOTHING = "not distinguishable", "no admissible candidate"


@pytest.fixture(autouse=True)
def commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPO_SWEEPS_COMMIT", "c0ffee")


@pytest.fixture
def nights(tmp_path: Path) -> NightPaths:
    return NightPaths(Store.open(tmp_path), "hh")


def hold(nights: NightPaths, night: date, run: Any, *overrides: str) -> Night:
    config = night_config(nights.storage.uri, *overrides)
    return run_night(config, nights.storage, run, night)


def pointer(nights: NightPaths, name: str) -> dict[str, Any] | None:
    store = nights.storage
    return decode_json(store.read(name)) if store.exists(name) else None


def texts(chat: Any) -> list[str]:
    return [content["text"] for _, _, content in chat.told]


def warm(paths: SweepPaths, weights: str = "w1") -> list[str]:
    return [record.trial for record in warm_start.read(paths, weights)]


# --- which night it is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "zone", "night"),
    [
        ("2026-11-24T22:00", "UTC", TUESDAY),
        ("2026-11-25T02:00", "UTC", TUESDAY),  # stable past midnight
        ("2026-11-25T11:59", "UTC", TUESDAY),
        ("2026-11-25T12:00", "UTC", WEDNESDAY),
        ("2026-11-25T05:00", "Asia/Tokyo", WEDNESDAY),  # 14:00 there
        ("2026-11-25T18:30", "America/New_York", WEDNESDAY),
        ("2026-11-25T16:59", "America/New_York", TUESDAY),  # 11:59 there
    ],
)
def test_a_night_has_the_date_of_its_evening(now: str, zone: str, night: date) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=ZoneInfo("UTC"))
    assert NightSettings(time_zone=zone).night_of(moment) == night


def test_where_clocks_go_back_each_night_comes_once() -> None:
    # In Vienna 02:00 to 03:00 comes twice on 25 October, and not at all on 29 March.
    for turns_at in ("02:00", "02:30", "02:59", "03:00"):
        settings = NightSettings(time_zone="Europe/Vienna", turns_at=turns_at)
        for day in (date(2026, 10, 25), date(2026, 3, 29)):
            start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=6)
            nights = [settings.night_of(start + timedelta(minutes=m)) for m in range(0, 24 * 60, 5)]
            assert nights == sorted(nights), "a night never comes back"
            assert set(nights) == {day - timedelta(days=1), day}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("time_zone=Mars/Olympus", "nightly.time_zone: Mars/Olympus is no time zone; give one"),
        ("time_zone=../../etc/passwd", "is no time zone"),
        ("turns_at=24:00", "nightly.turns_at: '24:00'"),
        ("warm_start_nights=-1", "nightly.warm_start_nights: -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(key: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        night_config("runs", f"nightly.{key}")


def test_a_winner_whose_model_is_damaged_is_not_promoted(nights: NightPaths) -> None:
    paths = nights.sweep(MONDAY)
    model, run = f"{paths.best}/model.safetensors", Scripted()

    def run_and_damage(config: SweepConfig, sweep: SweepPaths) -> None:
        run(config, sweep)
        sweep.store.write(model, b"half")

    said = r"hh-2026-11-23/best/model.safetensors: is missing or damaged; `dpo-sweeps resume"
    with pytest.raises(UserError, match=said):
        hold(nights, MONDAY, run_and_damage)
    assert pointer(nights, nights.incumbent) is None
    winner = pointer(nights, f"{paths.sweep_id}/selection.json")["winner"]
    write_best(paths, winner["trial"], winner["step"])  # as `resume` does
    assert hold(nights, MONDAY, run).about["promoted"]
    assert len(run.ran) == 1


# --- one night after the other ---------------------------------------------------------------


def test_the_first_night_is_judged_against_the_reference_and_becomes_the_incumbent(
    nights: NightPaths,
) -> None:
    run = Scripted()
    night = hold(nights, MONDAY, run)
    assert night.about["sweep"] == "hh-2026-11-23"
    assert run.ran[0].selection.incumbent is None
    assert warm(nights.sweep(MONDAY)) == []
    incumbent = pointer(nights, nights.incumbent)
    assert incumbent is not None
    assert incumbent["sweep"] == "hh-2026-11-23"
    assert incumbent["point"] == {"beta": 0.13, "learning_rate": 1e-5}
    latest = pointer(nights, nights.latest)
    assert latest is not None
    assert latest["path"] == incumbent["path"] == f"{nights.storage.uri}/hh-2026-11-23/best"


def test_a_later_night_runs_the_control_first_and_is_judged_against_the_incumbent(
    nights: NightPaths,
) -> None:
    hold(nights, MONDAY, Scripted())
    run = Scripted(SAME)
    night = hold(nights, TUESDAY, run)
    assert run.ran[0].selection.incumbent == f"{nights.storage.uri}/hh-2026-11-23/best"
    assert night.about["control"] == "t0000"
    first, *_ = ledger.read(nights.sweep(TUESDAY).store, "ledger.jsonl")
    assert first.point == {"beta": 0.13, "learning_rate": 1e-5}, "the incumbent's, not 0.1"
    assert night.trend[-1]["control"] == best_accuracy(first, "reward_accuracy")


@pytest.mark.parametrize(("override", "openings"), [((), 30), (("selection.final_openings=5",), 5)])
def test_final_is_declared_for_thirty_nights(
    nights: NightPaths, override: tuple[str, ...], openings: int
) -> None:
    run = Scripted()
    hold(nights, MONDAY, run, *override)
    assert run.ran[0].selection.final_openings == openings


@pytest.mark.parametrize("word", [SAME, "worse", NOTHING, "no verdict"])
def test_only_better_moves_the_incumbent_and_latest_moves_every_night(
    nights: NightPaths, word: str
) -> None:
    hold(nights, MONDAY, Scripted())
    before = pointer(nights, nights.incumbent)
    assert not hold(nights, TUESDAY, Scripted(word)).about["promoted"]
    assert pointer(nights, nights.incumbent) == before
    latest = pointer(nights, nights.latest)
    assert latest is not None
    assert latest["night"] == "2026-11-24"
    assert (latest["path"] is None) == (word == NOTHING)
    assert hold(nights, WEDNESDAY, Scripted()).about["promoted"]
    moved = pointer(nights, nights.incumbent)
    assert moved is not None
    assert moved["sweep"] == "hh-2026-11-25"


def test_a_night_that_is_made_up_for_does_not_move_latest_back(nights: NightPaths) -> None:
    hold(nights, TUESDAY, Scripted())
    night = hold(nights, MONDAY, Scripted())
    latest = pointer(nights, nights.latest)
    assert latest is not None
    assert latest["night"] == "2026-11-24"
    assert [row["night"] for row in night.trend] == ["2026-11-23", "2026-11-24"]


def test_a_night_that_is_still_to_come_is_refused(nights: NightPaths) -> None:
    run = Scripted()
    with pytest.raises(SettingsError, match=r"^--date: 2099-01-01 is still to come; the night"):
        hold(nights, date(2099, 1, 1), run)
    assert run.ran == []


def test_a_night_of_a_clock_that_was_wrong_does_not_keep_latest(nights: NightPaths) -> None:
    hold(nights, MONDAY, Scripted())
    latest = pointer(nights, nights.latest)
    assert latest is not None
    json_files.LATEST.write(nights.storage, nights.latest, {**latest, "night": "2099-01-01"})
    hold(nights, TUESDAY, Scripted(SAME))
    latest = pointer(nights, nights.latest)
    assert latest is not None
    assert latest["night"] == "2026-11-24"


def test_a_torn_pointer_is_written_again_from_the_nights(
    nights: NightPaths, messages: list[str]
) -> None:
    hold(nights, MONDAY, Scripted())
    before = pointer(nights, nights.incumbent)
    assert before is not None
    hold(nights, TUESDAY, Scripted(SAME))
    nights.storage.write(nights.incumbent, b'{"night": "2026-1')
    nights.storage.write(nights.latest, b"")
    run = Scripted(SAME)
    hold(nights, WEDNESDAY, run)
    assert run.ran[0].selection.incumbent == before["path"]
    after = pointer(nights, nights.incumbent)
    assert after is not None
    assert {**after, "since": None} == {**before, "since": None}
    assert any("hh-2026-11-23 was promoted last" in line for line in messages)


def test_a_torn_pointer_of_which_no_night_tells_is_one_line(nights: NightPaths) -> None:
    hold(nights, MONDAY, Scripted(SAME))
    nights.storage.write(nights.incumbent, b"")
    with pytest.raises(UserError, match="is damaged, and no night says what it held; restore it"):
        hold(nights, TUESDAY, Scripted())


def test_an_incumbent_that_was_taken_back_stays_so(nights: NightPaths) -> None:
    hold(nights, MONDAY, Scripted())
    nights.storage.delete(nights.incumbent)
    hold(nights, MONDAY, Scripted())
    run = Scripted(SAME)
    hold(nights, TUESDAY, run)
    assert run.ran[0].selection.incumbent is None
    assert pointer(nights, nights.incumbent) is None


@pytest.mark.parametrize("file", ["latest", "incumbent", "night.json"])
@pytest.mark.parametrize("next_night", [MONDAY, TUESDAY])
def test_chat_and_pointers_agree_whatever_write_fails(
    nights: NightPaths, chat: Any, monkeypatch: pytest.MonkeyPatch, file: str, next_night: date
) -> None:
    written = Store.write

    def fails_once(store: Store, name: str, content: bytes) -> None:
        is_end = name != "night.json" or b'"ended"' in content
        if name.endswith((f"{file}.json", file)) and is_end:
            monkeypatch.setattr(Store, "write", written)
            raise StorageError(f"{name}: the disk is full")
        written(store, name, content)

    monkeypatch.setattr(Store, "write", fails_once)
    with pytest.raises(StorageError):
        hold(nights, MONDAY, Scripted())
    assert [("failed" in text, "new incumbent" in text) for text in texts(chat)] == [(True, False)]
    hold(nights, next_night, Scripted(SAME))
    incumbent = pointer(nights, nights.incumbent)
    told = [text for text in texts(chat) if "hh-2026-11-23: better" in text]
    if (file, next_night) == ("night.json", TUESDAY):  # Monday never ended
        assert (incumbent, told) == (None, [])
    else:
        assert incumbent is not None
        assert incumbent["sweep"] == "hh-2026-11-23"
        assert len(told) == (next_night == MONDAY)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("night.json", b""),
        ("night.json", b"[]"),
        ("selection.json", b'{"verdict": {}}'),
        ("selection.json", None),
        ("prepared.json", b"{"),
    ],
)
def test_a_night_that_cannot_be_read_costs_a_line_and_no_other_night(
    nights: NightPaths, messages: list[str], chat: Any, name: str, content: bytes | None
) -> None:
    hold(nights, MONDAY, Scripted(SAME))
    store = nights.sweep(MONDAY).store
    if content is None:
        store.delete(name)
    else:
        store.write(name, content)
    messages.clear()
    for night in (TUESDAY, WEDNESDAY):
        ended = hold(nights, night, Scripted())
        assert ended.about["promoted"]
    assert any("hh-2026-11-23 is left out" in line for line in messages)
    assert not any("failed:" in text for text in texts(chat))
    assert [row["night"] for row in ended.trend][-2:] == ["2026-11-24", "2026-11-25"]


def test_a_night_without_any_evaluation_ends_and_says_so(
    nights: NightPaths, messages: list[str]
) -> None:
    night = hold(nights, MONDAY, Scripted(NOTHING, ("failed",) * 4))
    assert night.selection["winner"] is None
    assert night.trend[0]["failures"] == {"nan": 4}
    assert any("ever evaluated" in line for line in messages)
    assert pointer(nights, nights.incumbent) is None


def test_nights_on_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_RENEW_S", 0.3)
    nights = NightPaths(Store.open(f"bucket://{tmp_path}"), "hh")
    hold(nights, MONDAY, Scripted())
    run = Scripted()
    night = hold(nights, TUESDAY, run)
    assert run.ran[0].selection.incumbent == f"bucket://{tmp_path}/hh-2026-11-23/best"
    assert night.about["warm_started"] == 2
    assert [row["promoted"] for row in night.trend] == [True, True]


def test_versions_of_data_and_code_are_recorded(nights: NightPaths) -> None:
    hold(nights, MONDAY, Scripted())
    store = nights.sweep(MONDAY).store
    about = decode_json(store.read("night.json"))
    assert about["data_sha256"] == "d1"
    assert about["weights_sha256"] == "w1"
    assert about["code"]["commit"] == "c0ffee"
    assert about["code"]["version"]
    assert about["started"] <= about["ended"]


def test_the_commit_is_that_of_the_checkout_where_none_is_given(monkeypatch: Any) -> None:
    monkeypatch.delenv("DPO_SWEEPS_COMMIT")
    commit = code_version()["commit"]
    if not (ROOT / ".git").exists():
        assert commit is None
        pytest.skip("this is no git checkout, so there is no commit to be told")
    head = subprocess.check_output(["git", "-C", str(ROOT), "rev-parse", "HEAD"], text=True)
    assert commit.removesuffix("+changes") == head.strip()


# --- the same night again --------------------------------------------------------------------


def test_a_second_start_of_a_night_that_has_ended_does_nothing(
    nights: NightPaths, messages: list[str]
) -> None:
    first = hold(nights, MONDAY, Scripted())
    files = {p: p.read_bytes() for p in Path(nights.storage.root).rglob("*") if p.is_file()}
    messages.clear()
    again = Scripted("worse")
    second = hold(nights, MONDAY, again)
    assert again.ran == []
    assert second == first
    assert messages == ["hh-2026-11-23 has ended already; nothing to run"]
    kept = {p: p.read_bytes() for p in files if ".leases" not in p.parts}
    assert kept == {p: content for p, content in files.items() if ".leases" not in p.parts}


def test_an_interrupted_night_goes_on_as_it_began(nights: NightPaths, messages: list[str]) -> None:
    def ctrl_c() -> None:
        raise KeyboardInterrupt

    hold(nights, MONDAY, Scripted())
    with pytest.raises(KeyboardInterrupt):
        hold(nights, TUESDAY, Scripted(interrupt=ctrl_c))
    paths = nights.sweep(TUESDAY)
    before = ledger.read(paths.store, paths.ledger)
    assert len(before) == 2
    messages.clear()
    run = Scripted()
    night = hold(nights, TUESDAY, run, "search.trials=9")
    assert run.ran[0].search.trials == 4, "by the config of its folder"
    assert run.ran[0].selection.incumbent == f"{nights.storage.uri}/hh-2026-11-23/best"
    assert messages[0] == (
        "hh-2026-11-24 goes on; these changes count from tomorrow: search.trials: 4 -> 9"
    )
    assert ledger.read(paths.store, paths.ledger)[:2] == before
    assert night.about["control"] == "t0000"
    assert len(warm(paths)) == 2


def test_a_night_that_died_before_its_end_was_noted_is_finished_and_moves_nothing_twice(
    nights: NightPaths,
) -> None:
    first = hold(nights, MONDAY, Scripted())
    store = nights.sweep(MONDAY).store
    about = decode_json(store.read("night.json"))
    for key in ("ended", "promoted", "told", "verdict"):
        del about[key]
    store.write("night.json", json.dumps(about).encode())
    store.delete("trend.json")
    incumbent = pointer(nights, nights.incumbent)
    run = Scripted()
    again = hold(nights, MONDAY, run)
    assert run.ran == []
    assert again.about["promoted"] is True
    assert pointer(nights, nights.incumbent) == incumbent
    assert again.trend == first.trend == decode_json(store.read("trend.json"))


def test_a_config_that_could_not_be_prepared_may_be_mended_the_same_night(
    nights: NightPaths,
) -> None:
    def refused(config: SweepConfig, paths: SweepPaths) -> None:
        paths.store.write(paths.config, b"name: hh")
        raise SettingsError("model.path: no such model")

    with pytest.raises(SettingsError, match="no such model"):
        hold(nights, MONDAY, refused)
    run = Scripted()
    hold(nights, MONDAY, run, "search.trials=9")
    assert run.ran[0].search.trials == 9


def test_a_sweep_of_that_name_that_was_no_night_is_left_alone(nights: NightPaths) -> None:
    paths = nights.sweep(MONDAY)
    Scripted()(night_config(nights.storage.uri), paths)
    with pytest.raises(SettingsError, match="was not run as a night"):
        hold(nights, MONDAY, Scripted())


STARTER = """
import sys, time
from datetime import date
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from tests.support.scripted_nights import Scripted, night_config
from dpo_core.storage.store import Store
from sweeps.run_dir.lock import Busy
from sweeps.nightly.run_night import run_night
print("ready", flush=True)
sys.stdin.readline()
scripted = Scripted(interrupt=lambda: time.sleep(float(sys.argv[2])))
try:
    run_night(night_config(sys.argv[1]), Store.open(sys.argv[1]), scripted, date(2026, 11, 24))
except Busy:
    sys.exit(75)
sys.exit(0 if scripted.ran else 7)
"""


def starter(storage: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STARTER, storage, str(seconds), str(ROOT)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_of_two_starts_at_once_one_runs(nights: NightPaths) -> None:
    both = [starter(nights.storage.uri, 4) for _ in range(2)]
    for process in both:
        go(process)
    for process in both:
        process.communicate(timeout=120)
    assert sorted(process.returncode for process in both) == [0, 75]
    records = ledger.read(nights.sweep(TUESDAY).store, "ledger.jsonl")
    assert [r.trial for r in records] == ["t0000", "t0001", "t0002", "t0003"]


def test_a_night_that_was_killed_is_taken_over(nights: NightPaths) -> None:
    paths, process = nights.sweep(TUESDAY), starter(nights.storage.uri, 120)
    go(process)
    while len(ledger.read(paths.store, paths.ledger)) < 2:
        assert process.poll() is None
    with pytest.raises(Busy, match=str(process.pid)):
        hold(nights, WEDNESDAY, Scripted())  # not even another date
    process.kill()
    process.wait()
    hold(nights, TUESDAY, Scripted())
    assert len(ledger.read(paths.store, paths.ledger)) == 4


# --- warm start ------------------------------------------------------------------------------


def test_finished_trials_of_earlier_nights_are_known_once_each(nights: NightPaths) -> None:
    hold(nights, MONDAY, Scripted())
    paths = nights.sweep(MONDAY)
    confirmed = ledger.read(paths.store, paths.ledger)[0]
    again = {**vars(confirmed), "trial": "t0000-s1", "confirms": "t0000"}
    ledger.append(paths.store, paths.ledger, type(confirmed)(**again))
    hold(nights, TUESDAY, Scripted(SAME))
    # Neither the failed one, nor the one that was stopped early, nor the confirmation.
    first = ["hh-2026-11-23/t0000", "hh-2026-11-23/t0003"]
    assert warm(nights.sweep(TUESDAY)) == first
    night = hold(nights, WEDNESDAY, Scripted(SAME))
    assert warm(nights.sweep(WEDNESDAY)) == [*first, "hh-2026-11-24/t0000", "hh-2026-11-24/t0003"]
    assert night.about["warm_started"] == 4
    records = warm_start.read(nights.sweep(WEDNESDAY), "w1")
    assert {record.status for record in records} == {FINISHED}
    assert records[0].point == confirmed.point
    assert best_accuracy(records[0], "reward_accuracy") == 11 / 20


@pytest.mark.parametrize(
    ("override", "known"),
    [
        ("search.trials=9", True),
        ("resources.workers=2", True),
        ("model.path=/another/place/tiny", True),  # its weights are what counts
        ("data.path=/another/place/pairs.jsonl", True),
        ("data.path=other.jsonl", False),
        ("data.max_tokens=99", False),
        ("space={beta: {log_uniform: [0.01, 2.0]}, learning_rate: 1e-5}", False),
        ("selection.objective=token_reward_accuracy", False),
        ("training.max_steps=8", False),
        ("model.adapter={rank: 4}", False),
        ("seed=1", False),  # other splits
    ],
)
def test_only_comparable_nights_are_known(nights: NightPaths, override: str, known: bool) -> None:
    hold(nights, MONDAY, Scripted())
    hold(nights, TUESDAY, Scripted(SAME), override)
    assert bool(warm(nights.sweep(TUESDAY))) == known


def test_another_model_under_the_same_path_is_noticed(nights: NightPaths) -> None:
    hold(nights, MONDAY, Scripted(weights="w1"))
    night = hold(nights, TUESDAY, Scripted(SAME, weights="w2"))
    assert night.about["warm_started"] == 0
    assert warm(nights.sweep(TUESDAY), "w2") == []


def test_so_many_nights_and_no_more(nights: NightPaths) -> None:
    for night in (MONDAY, TUESDAY):
        hold(nights, night, Scripted(SAME))
    hold(nights, WEDNESDAY, Scripted(SAME), "nightly.warm_start_nights=1")
    assert {name.partition("/")[0] for name in warm(nights.sweep(WEDNESDAY))} == {"hh-2026-11-24"}
    hold(nights, date(2026, 11, 26), Scripted(SAME), "nightly.warm_start_nights=0")
    assert warm(nights.sweep(date(2026, 11, 26))) == []


def test_an_earlier_night_that_cannot_be_read_does_not_cost_this_one(
    nights: NightPaths, messages: list[str]
) -> None:
    hold(nights, MONDAY, Scripted())
    hold(nights, TUESDAY, Scripted(SAME))
    store = nights.sweep(MONDAY).store
    store.write("ledger.jsonl", store.read("ledger.jsonl").replace(b"0.1", b"0.2", 1))
    hold(nights, WEDNESDAY, Scripted(SAME))
    left_out = "hh-2026-11-23 is left out of the warm start: "
    assert any(left_out in line and "ledger.jsonl:1: damaged" in line for line in messages)
    assert {name.partition("/")[0] for name in warm(nights.sweep(WEDNESDAY))} == {"hh-2026-11-24"}


def test_the_search_knows_them_and_draws_other_points(nights: NightPaths) -> None:
    from sweeps.trials.runner import _searcher

    hold(nights, MONDAY, Scripted())
    hold(nights, TUESDAY, Scripted(SAME))
    config = night_config(nights.storage.uri, "search.sampler=random")
    paths = SweepPaths(nights.storage, "hh-2026-11-24")
    known = warm_start.read(paths, "w1")
    cold, warmed = (_searcher(config, paths, [], [], each) for each in ([], known))
    assert known
    assert [r.trial for r in warmed._history().learnt] == [r.trial for r in known]
    assert cold.suggest("a")["point"] != warmed.suggest("a")["point"]


def test_a_space_that_no_longer_has_the_incumbents_point_runs_no_control(
    nights: NightPaths, messages: list[str]
) -> None:
    hold(nights, MONDAY, Scripted())
    messages.clear()
    space = "space={beta: {log_uniform: [0.5, 1.0]}, learning_rate: 1e-5}"
    night = hold(nights, TUESDAY, Scripted(SAME), space)
    assert night.about["control"] is None
    assert "the incumbent's point is not run again, since the space has changed: " in messages[0]


def test_an_incumbent_that_is_gone_is_told_before_anything_runs(nights: NightPaths) -> None:
    hold(nights, MONDAY, Scripted())
    nights.sweep(MONDAY).store.delete("best")
    run = Scripted()
    with pytest.raises(SettingsError, match=r"incumbent\.json: points at .* restore it, or delete"):
        hold(nights, TUESDAY, run)
    assert run.ran == []


# --- who is told -----------------------------------------------------------------------------


def test_a_night_is_told_once(nights: NightPaths, chat: Any) -> None:
    for _ in range(2):
        hold(nights, MONDAY, Scripted())
    [(_, _, content)] = chat.told
    assert content["text"].splitlines() == [
        "*hh-2026-11-23: better* (new incumbent)",
        "So it is.",
        "4 trials, 1 failed (nan 1), 2.0 worker hours, 0.0 GPU hours",
        f"{nights.storage.uri}/hh-2026-11-23",
    ]


def test_a_chat_that_is_down_fails_no_night_and_is_told_by_the_next_start(
    nights: NightPaths, chat: Any, monkeypatch: Any, messages: list[str]
) -> None:
    chat.codes = [404]
    night = hold(nights, MONDAY, Scripted())
    assert night.about["told"] is False
    assert "HTTP 404" in messages[-1]
    assert hold(nights, MONDAY, Scripted()).about["told"] is True
    assert len(chat.told) == 2


def test_a_night_that_fails_is_told_and_its_secrets_are_not(
    nights: NightPaths, chat: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf-canary-0123456789")

    def broken(config: SweepConfig, paths: SweepPaths) -> None:
        raise UserError("model.path: 401 for hf-canary-0123456789")

    with pytest.raises(UserError):
        hold(nights, MONDAY, broken)
    [(_, _, content)] = chat.told
    assert content["text"].startswith("hh-2026-11-23 failed: UserError: model.path: 401 for ")
    assert "canary" not in content["text"]


def test_the_shipped_night_is_a_sweep() -> None:
    path = ROOT / "cluster" / "nightly" / "nightly.yaml"
    config = parse_sweep(path.read_text("utf-8"), source=path.name)
    assert config.nightly.warm_start_nights > 0
