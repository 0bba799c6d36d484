"""Every file of a run directory and of the nights, damaged in every way, and every command that
reads it: the file is made again, or the command ends with 2 and one line that says what to do.

The tables say which command needs a file and what it does without: `MADE_AGAIN`, or the words of its
way out. A command that is not named for a file does what it does with the whole file. The default run
damages each file in one way; `-m slow` does it in all.

A single changed bit in any file is noticed too, or changes nothing of what a command shows.
"""

from __future__ import annotations

import fnmatch
import io
import json
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dpo_core.storage.json_content import decode_json
from dpo_core.storage.store import Store
from sweeps.cli import app as cli
from sweeps.run_dir import ledger
from sweeps.run_dir.ledger import TrialRecord
from tests.support.sweeps_without_ray import STOPS_HERE, sweep_yaml, without_ray

pytestmark = pytest.mark.xdist_group("damaged files")  # they share the nights, made once

ENDED, KILLED = "torn-2026-01-02", "torn-2026-01-03"
COMMANDS = {
    "report": ("report", f"runs/{ENDED}"),
    "best": ("best", f"runs/{ENDED}", "--json"),
    "select": ("select", f"runs/{ENDED}", "--json"),
    "resume": ("resume", f"runs/{ENDED}", "--json"),
    "nightly": ("nightly", "sweep.yaml", "--date", "2026-01-02", "--json"),
    "next night": ("nightly", "sweep.yaml", "--date", "2026-01-04"),
    "export": ("export", f"runs/{ENDED}", "copy"),
    "report killed": ("report", f"runs/{KILLED}"),
    "resume killed": ("resume", f"runs/{KILLED}"),
    "nightly killed": ("nightly", "sweep.yaml", "--date", "2026-01-03"),
}
OF_ENDED = ("report", "best", "select", "resume", "nightly")
STOPPED = ("next night", "resume killed", "nightly killed")
OF_KILLED = ("report killed", "resume killed", "nightly killed")

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),  # what a disk may hold after a power cut
    "text": lambda content: b"not what it was\n",
    "a list": lambda content: b"[1]\n",
    "an object": lambda content: b'{"a": 1}\n',
}
FOLDER = "a folder"
PROBLEM = {
    "cut off": "is cut off",
    "empty": "is empty",
    "zeros": "is not JSON",
    "text": "is not JSON",
    "a list": "holds a ",
    "an object": "lacks '|holds an object",
}
MADE_AGAIN = "made again"
AGAIN = {"resume": MADE_AGAIN}
COPY = "restore it from a copy, or delete it, and .*resume.* chooses among the other checkpoints"
SCORED = "resume.* scores the model again"
PREPARED = "resume.* prepares the sweep again"

# Of a night that has ended. Names are patterns; the first that fits a file counts.
OF_ENDED_NIGHT: dict[str, dict[str, str]] = {
    "config.yaml": dict.fromkeys(("report", "select", "resume"), f"delete it, .*--id {ENDED}"),
    "splits/select.jsonl": {"select": PREPARED, **AGAIN},
    "splits/final.jsonl": {"report": PREPARED, "select": PREPARED, **AGAIN},
    "splits/train.jsonl": AGAIN,
    "pairs/*": AGAIN,
    "encoded/train.arrow": AGAIN,
    "encoded/*.arrow": {"report": PREPARED, "select": PREPARED, **AGAIN},
    "prepared.json": {"report": PREPARED, "select": PREPARED, **AGAIN},
    "trials/*.json": {},
    "outcomes/t0002-s1-step-000006.parquet": dict.fromkeys(("report", "select", "resume"), COPY),
    "outcomes/incumbent-final.parquet": {"select": SCORED, **AGAIN},
    "outcomes/*-final.parquet": {"report": SCORED, "select": SCORED, **AGAIN},
    "outcomes/incumbent-select.parquet": {"select": SCORED, **AGAIN},
    "outcomes/*.parquet": {"select": COPY, "resume": COPY},
    "checkpoints/*": {},
    "failures/*.json": {},
    "nodes/*.json": {"report": "delete it, and the report leaves this node out"},
    "study.db": AGAIN,
    "answers.json": {
        **dict.fromkeys(("report", "select"), "resume.* has the prompts answered again"),
        **AGAIN,
    },
    "final_opened.json": dict.fromkeys(
        ("select", "resume"), "nobody knows what final was opened for: restore .* or delete it"
    ),
    "selection.json": {
        **dict.fromkeys(("report", "best"), "resume.* writes it again"),
        **AGAIN,
        "nightly": MADE_AGAIN,
    },
    "best/*": AGAIN,
    "night.json": dict.fromkeys(
        ("nightly", "resume"), f"restore it from a copy; or rename the folder .*{ENDED}"
    ),
    "warm_start.json": {},
    "audit.json": {"report": "resume.* audits the data again; or delete it", **AGAIN},
    "trend.json": {"report": "delete it, and the report leaves the nights", "nightly": MADE_AGAIN},
    "report/*": {"report": MADE_AGAIN},
}
# Of a night that was killed, where it differs.
OF_KILLED_NIGHT: dict[str, dict[str, str]] = {
    "config.yaml": dict.fromkeys(OF_KILLED, f"delete it, .*--id {KILLED}"),
    "trials/t0002.json": {},
    "outcomes/t0002-step-000004.parquet": dict.fromkeys(
        ("resume killed", "nightly killed"), MADE_AGAIN
    ),
    "outcomes/t0000-step-000006.parquet": dict.fromkeys(OF_KILLED, COPY),
    "checkpoints/t0002/step-000004/manifest.json": {},
    "failures/t0001.json": {},
    "prepared.json": {
        "report killed": PREPARED,
        "resume killed": MADE_AGAIN,
        "nightly killed": MADE_AGAIN,
    },
    "night.json": {"nightly killed": "restore it from a copy; or rename the folder"},
    "warm_start.json": dict.fromkeys(
        ("resume killed", "nightly killed"), "or delete it, and the search goes on without"
    ),
}
# Of the storage that the nights share.
OF_STORAGE: dict[str, dict[str, str]] = {
    "nights/torn/latest.json": {"nightly": MADE_AGAIN},
    "nights/torn/incumbent.json": dict.fromkeys(("nightly", "next night"), MADE_AGAIN),
    ".cache/reference/sharing/*.json": {},
    ".cache/reference/*.lock": {},
    ".cache/reference/*": AGAIN,
    ".leases/*": {},
    ".finals/openings/*.json": {"next night": "restore it from a copy: without it nobody knows"},
    ".finals/prompts/*.json": {"next night": "restore it from a copy: it names the prompts"},
    ".finals/lock": {},
}


@dataclass(frozen=True)
class Storage:
    """The nights as they were left, and the copy of them that a test may damage."""

    whole: Path
    runs: Path

    def restore(self) -> None:
        """Bring everything back."""
        shutil.rmtree(self.runs, ignore_errors=True)
        shutil.copytree(self.whole, self.runs)

    def change_bit(self, name: str, bit: int) -> None:
        """Bring everything back and change one bit of one file."""
        self.restore()
        content = bytearray((self.whole / name).read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        (self.runs / name).write_bytes(content)

    def damage(self, name: str, kind: str) -> None:
        """Bring everything back and damage one file."""
        self.restore()
        file = self.runs / name
        if kind == FOLDER:
            file.unlink()
            file.mkdir()
        else:
            file.write_bytes(DAMAGE[kind](file.read_bytes()))
        if name.startswith("nights/"):  # they are read and written before a night counts as ended
            night = self.runs / ENDED / "night.json"
            about = decode_json(night.read_bytes())
            night.write_text(json.dumps({k: v for k, v in about.items() if k != "ended"}))


def run(*arguments: str) -> tuple[int, str]:
    """Run the command in this process; return its exit code and what it says on stderr."""
    code, _, errors = run_and_read(*arguments)
    return code, errors


def run_and_read(*arguments: str) -> tuple[int, str, str]:
    """Run the command in this process; return its exit code, stdout and stderr."""
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dpo-sweeps", *arguments])
        patch.setattr(sys, "stdout", output)
        patch.setattr(sys, "stderr", errors)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    return stopped.value.code, output.getvalue(), errors.getvalue()


@pytest.fixture(scope="module")
def storage(
    toy_model: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Storage]:
    """Three nights: two have ended, and each made an incumbent; the third was killed."""
    folder = tmp_path_factory.mktemp("nights")
    (folder / "sweep.yaml").write_text(sweep_yaml(Path("runs"), toy_model, pairs_file))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DPO_SWEEPS_COMMIT", "c0ffee")
        with without_ray():
            for night in ("2026-01-01", "2026-01-02"):
                assert run("nightly", "sweep.yaml", "--date", night)[0] == 0
            assert run("report", f"runs/{ENDED}")[0] == 0
        with without_ray(killed_after=1):
            assert run("nightly", "sweep.yaml", "--date", "2026-01-03")[0] == 130
        shutil.copytree(folder / "runs", folder / "whole")
        with without_ray(stop=True):
            yield Storage(folder / "whole", folder / "runs")


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def pattern_of(name: str, table: Mapping[str, object]) -> str | None:
    """Return the first pattern of the table that fits a file."""
    return next((each for each in table if fnmatch.fnmatch(name, each)), None)


def file_of(folder: Path, pattern: str, table: Mapping[str, object]) -> str:
    """Return the first file that this line of the table is about."""
    return next(name for name in files_of(folder) if pattern_of(name, table) == pattern)


def check(storage: Storage, name: str, kind: str, command: str, expected: str | None) -> None:
    """Damage a file, run a command, and compare what it says and does with what is expected."""
    storage.damage(name, kind)
    damaged = storage.runs / name
    content = None if kind == FOLDER else damaged.read_bytes()
    code, stderr = run(*COMMANDS[command])
    case = f"{name}, {kind}, {command}: {code}, {stderr}"
    assert "Traceback" not in stderr, case
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    stops = command in STOPPED and any(STOPS_HERE in line for line in errors)
    is_as_with_the_whole_file = (
        (code, len(errors)) == (2, 1) if stops else (code, errors) == (0, [])
    )
    if kind == FOLDER:
        refused = code == 2 and any(re.search("is a folder, .*move it away", e) for e in errors)
        assert refused or (not expected and is_as_with_the_whole_file), case
    elif expected in (None, MADE_AGAIN):
        assert is_as_with_the_whole_file, case
        # Outcomes of a trial that goes on are deleted: their step is evaluated again.
        is_gone = not damaged.exists() or damaged.read_bytes() != content
        assert expected is None or is_gone, case
    else:
        assert (code, len(errors), stops) == (2, 1, False), case
        assert re.search(expected, errors[0]), case
        if name.endswith(".json"):
            assert re.search(f"{re.escape(name)}: .*({PROBLEM[kind]})", errors[0]), case


TABLES = {
    f"{ENDED}/": (OF_ENDED_NIGHT, OF_ENDED),
    f"{KILLED}/": (OF_KILLED_NIGHT, OF_KILLED),
    "": (OF_STORAGE, ("resume", "nightly", "next night", "resume killed", "nightly killed")),
}
LINES = [(folder, pattern) for folder, (table, _) in TABLES.items() for pattern in table]


@pytest.mark.parametrize(("folder", "pattern"), LINES)
def test_a_file_that_is_cut_off(storage: Storage, folder: str, pattern: str) -> None:
    """Commands that the table names; all others, and other damage, in the slow test."""
    table, _ = TABLES[folder]
    name = folder + file_of(storage.whole / folder, pattern, table)
    for command, expected in table[pattern].items():
        check(storage, name, "cut off", command, expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*DAMAGE, FOLDER])
@pytest.mark.parametrize(("folder", "pattern"), LINES)
def test_every_damage_and_every_command(
    storage: Storage, folder: str, pattern: str, kind: str
) -> None:
    table, commands = TABLES[folder]
    name = folder + file_of(storage.whole / folder, pattern, table)
    for command in commands:
        check(storage, name, kind, command, table[pattern].get(command))


@pytest.mark.parametrize("kind", [*DAMAGE, FOLDER])
def test_the_ledger(storage: Storage, kind: str) -> None:
    """A torn last line is no record, and resuming records its trial again; any other damage is
    the user's to mend."""
    torn = kind in ("cut off", "empty", "zeros")
    damaged = r"ledger.jsonl:1: damaged .*restore the file from a copy, or delete the line"
    expected = (
        {"select": "trials have not ended; .*resume", "resume": MADE_AGAIN}
        if torn
        else dict.fromkeys(("report", "select", "resume"), damaged)
    )
    for command in ("report", "select", "resume"):
        check(storage, f"{ENDED}/ledger.jsonl", kind, command, expected.get(command))


def test_every_file_has_a_line(storage: Storage) -> None:
    """A file of which no table knows: which command reads it, and what if it is damaged?"""
    ended = files_of(storage.whole / ENDED)
    shared = [name for name in files_of(storage.whole) if not name.startswith("torn-")]
    unknown = [name for name in ended if pattern_of(name, OF_ENDED_NIGHT) is None]
    unknown += [name for name in shared if pattern_of(name, OF_STORAGE) is None]
    assert unknown == ["ledger.jsonl"]


@pytest.mark.parametrize("name", ["night.json", "selection.json"])
def test_an_earlier_night_that_cannot_be_read_does_not_cost_tonight(
    storage: Storage, name: str
) -> None:
    storage.damage(f"{ENDED}/{name}", "cut off")
    with without_ray():
        code, stderr = run(*COMMANDS["nightly killed"])
    assert code == 0, stderr
    assert f"{ENDED} is left out of the trend: " in stderr
    trend = decode_json((storage.runs / KILLED / "trend.json").read_bytes())
    assert [row["sweep"] for row in trend] == ["torn-2026-01-01", KILLED]


# One changed bit

SHOWING = ("report", "select", "resume")


def shown_by(storage: Storage, command: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, what it shows, and the errors that it names."""
    code, output, stderr = run_and_read(*COMMANDS[command])
    assert "Traceback" not in stderr, stderr
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    if command == "report" and code == 0:
        report = storage.runs / ENDED / "report"
        output += (report / "index.html").read_text() + (report / "report.md").read_text()
    return code, output, "\n".join(errors)


@pytest.fixture(scope="module")
def undamaged(storage: Storage) -> dict[str, str]:
    """What each command shows of the whole files."""
    shown = {}
    for command in SHOWING:
        storage.restore()
        code, shown[command], _ = shown_by(storage, command)
        assert code == 0, command
    return shown


def files_of_ended_night(whole: Path) -> list[str]:
    """Return the files of the night that has ended, and of the storage around it."""
    others = (KILLED, "torn-2026-01-01", ".leases")
    names = (name for name in files_of(whole) if not name.startswith(others))
    # Locks are empty: there is no bit to change.
    return [name for name in names if (whole / name).stat().st_size]


def check_bit(
    storage: Storage, undamaged: Mapping[str, str], name: str, bit: int, command: str
) -> None:
    """Change a bit: the command shows what it shows of the whole file, or refuses this one."""
    storage.change_bit(name, bit)
    code, output, error = shown_by(storage, command)
    case = f"{name}, bit {bit}, {command}: {code}, {error}"
    if code == 0:
        assert output == undamaged[command], case
    else:
        assert code == 2, case
        assert "\n" not in error, case
        file = name.removeprefix(".cache/reference/").partition("/")[0] if "cache" in name else name
        assert file in error, case


@pytest.mark.parametrize("seed", range(12))
def test_a_changed_bit_is_never_silent(
    storage: Storage, undamaged: Mapping[str, str], seed: int
) -> None:
    """A sample; all files in the slow test."""
    draw = random.Random(seed)
    name = draw.choice(files_of_ended_night(storage.whole))
    bit = draw.randrange(8 * (storage.whole / name).stat().st_size)
    check_bit(storage, undamaged, name, bit, SHOWING[seed % len(SHOWING)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_no_changed_bit_of_any_file_is_silent(
    storage: Storage, undamaged: Mapping[str, str], seed: int
) -> None:
    draw = random.Random(f"all {seed}")
    names = files_of_ended_night(storage.whole)
    assert len(names) > 50
    for name in names:
        bit = draw.randrange(8 * (storage.whole / name).stat().st_size)
        for command in SHOWING:
            check_bit(storage, undamaged, name, bit, command)


def recorded(storage: Storage) -> list[TrialRecord]:
    """Return the records of the killed night, without what differs from one start to the next."""
    store = Store.open(storage.runs / KILLED)
    records = ledger.read(store, "ledger.jsonl")
    return [replace(record, seconds=0, ended="") for record in records]


def check_bit_of_killed_night(
    storage: Storage, shown: str, records: list[TrialRecord], name: str, bit: int
) -> None:
    """Change a bit: report and resume do what they do with the whole file, or name this one."""
    storage.change_bit(name, bit)
    code, _, stderr = run_and_read(*COMMANDS["report killed"])
    report = storage.runs / KILLED / "report" / "index.html"
    is_same = code == 0 and report.read_text() == shown
    assert is_same or name in stderr, f"{name}, bit {bit}, report: {code}, {stderr}"
    storage.change_bit(name, bit)
    code, _, stderr = run_and_read(*COMMANDS["resume killed"])
    is_same = STOPS_HERE in stderr and recorded(storage) == records
    assert is_same or name in stderr, f"{name}, bit {bit}, resume: {code}, {stderr}"


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(150), marks=pytest.mark.slow)])
def test_a_changed_bit_of_a_killed_night_is_never_silent(storage: Storage, seeds: range) -> None:
    storage.restore()
    assert run(*COMMANDS["report killed"])[0] == 0
    shown = (storage.runs / KILLED / "report" / "index.html").read_text()
    storage.restore()
    assert STOPS_HERE in run(*COMMANDS["resume killed"])[1]
    records = recorded(storage)
    names = [f"{KILLED}/{name}" for name in files_of(storage.whole / KILLED)]
    for seed in seeds:
        draw = random.Random(f"killed {seed}")
        name = draw.choice(names)
        bit = draw.randrange(8 * (storage.whole / name).stat().st_size)
        check_bit_of_killed_night(storage, shown, records, name, bit)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "adapter/adapter_model.safetensors", "dpo-sweeps.json"]
)
@pytest.mark.parametrize("kind", ["a bit", "cut off", "empty"])
def test_a_damaged_model_is_neither_copied_nor_compared_with_until_it_is_exported_again(
    storage: Storage, name: str, kind: str
) -> None:
    file = f"{ENDED}/best/{name}"
    if kind == "a bit":
        storage.change_bit(file, 100)
    else:
        storage.damage(file, kind)
    shutil.rmtree("copy", ignore_errors=True)
    for command in ("export", "next night"):
        code, stderr = run(*COMMANDS[command])
        assert code == 2, stderr
        assert re.search(rf"error: .*{file}: .*resume .*{ENDED}. exports the winner again", stderr)
    assert not Path("copy").exists()
    assert run(*COMMANDS["resume"])[0] == 0
    assert (storage.runs / file).read_bytes() == (storage.whole / file).read_bytes()
    assert run(*COMMANDS["export"])[0] == 0
    assert Path("copy", name).read_bytes() == (storage.whole / file).read_bytes()


def test_what_works_after_a_clean(storage: Storage) -> None:
    """All that shows or copies the choice, and the nights; what needs the weights says so."""
    storage.restore()
    assert run("clean", f"runs/{ENDED}", "--yes") == (0, "")
    ended = storage.runs / ENDED
    assert not (ended / "checkpoints").exists()
    before = decode_json((ended / "selection.json").read_bytes())
    opened = (ended / "final_opened.json").read_bytes()
    with without_ray():
        for command in (*OF_ENDED, "export", "nightly killed"):
            assert run(*COMMANDS[command])[0] == 0, command
        assert run("select", f"runs/{ENDED}", "--write")[0] == 0
        after = decode_json((ended / "selection.json").read_bytes())
        same = ("winner", "verdict", "candidates", "trials")
        assert {key: after[key] for key in same} == {key: before[key] for key in same}
        for setting in ("export.dtype=bfloat16", "selection.confirm.top=0"):
            again = ("--set", setting, "--write", "--open-final-again")
            code, stderr = run("select", f"runs/{ENDED}", *again)
            assert (code, stderr.count("error: ")) == (2, 1), stderr
            assert re.search("error: .*`dpo-sweeps clean` removed the checkpoints", stderr), stderr
    assert (ended / "final_opened.json").read_bytes() == opened
    assert decode_json((ended / "selection.json").read_bytes()) == after
    about = decode_json((storage.runs / KILLED / "night.json").read_bytes())
    assert about["incumbent"]["sweep"] == ENDED


def test_a_killed_sweep_that_was_cleaned_begins_its_open_trials_anew(storage: Storage) -> None:
    storage.restore()
    assert run("clean", "runs", "--yes", "--unfinished", KILLED) == (0, "")
    with without_ray():
        assert run("resume", f"runs/{KILLED}")[0] == 0
