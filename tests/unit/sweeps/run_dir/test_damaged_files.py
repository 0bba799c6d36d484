"""Every kind of file of a run directory and of the nights, damaged in every way, and every command
that reads it: the command does what it does with the whole file, or ends with one line that says what
to do. Nothing is silent.

The tables say which command needs a file, and what it does without: `MADE_AGAIN`, or the words of its
way out. A command that is not named for a file does what it does with the whole file. The default run
tries each file in one way with one command; `-m slow` tries all.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import json
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dpo_core.storage.json_content import decode_json
from dpo_core.storage.store import Store
from sweeps.cli import app as cli
from sweeps.run_dir import ledger
from tests.support.sweeps_without_ray import STOPS_HERE, sweep_yaml, without_ray

pytestmark = pytest.mark.xdist_group("damaged files")  # they share the nights, made once

ENDED, KILLED = "torn-2026-01-02", "torn-2026-01-03"
COMMANDS = {
    "best": ("best", f"runs/{ENDED}", "--json"),
    "export": ("export", f"runs/{ENDED}", "copy"),
    "nightly": ("nightly", "sweep.yaml", "--date", "2026-01-02", "--json"),
    "select": ("select", f"runs/{ENDED}", "--json"),
    "report": ("report", f"runs/{ENDED}"),
    "resume": ("resume", f"runs/{ENDED}", "--json"),
    "next night": ("nightly", "sweep.yaml", "--date", "2026-01-04"),
    "report killed": ("report", f"runs/{KILLED}"),
    "resume killed": ("resume", f"runs/{KILLED}"),
    "nightly killed": ("nightly", "sweep.yaml", "--date", "2026-01-03"),
}
OF_ENDED = ("best", "export", "nightly", "select", "report", "resume")
OF_KILLED = ("report killed", "resume killed", "nightly killed")
OF_SHARED = ("nightly", "resume", "next night")
STOPPED = ("next night", "resume killed", "nightly killed")

BIT, DELETED, FOLDER, LINK = "a changed bit", "deleted", "a folder", "a link"
CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),  # what a disk may hold after a power cut
    "text": lambda content: b"not what it was\n",
    "a list": lambda content: b"[1]\n",
    "an object": lambda content: b'{"a": 1}\n',
}
OTHER_CONTENT = (
    "zeros",
    "text",
    "a list",
    "an object",
)  # one reader for all JSON: one command each
KINDS = ("cut off", "empty", BIT, DELETED, FOLDER, LINK)
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
        **dict.fromkeys(("report", "best", "export"), "resume.* writes it again"),
        **AGAIN,
        "nightly": MADE_AGAIN,
    },
    "best/*": {"export": "exports the winner again", **AGAIN},
    "night.json": dict.fromkeys(
        ("nightly", "resume"), f"restore it from a copy; or rename the folder .*{ENDED}"
    ),
    "warm_start.json": {},
    "config_changes.json": {"report": "delete it, and the report leaves out what was changed"},
    "audit.json": {"report": "resume.* audits the data again; or delete it", **AGAIN},
    "trend.json": {"report": "delete it, and the report leaves the nights", "nightly": MADE_AGAIN},
    "report/*": {"report": MADE_AGAIN},
    # A torn last line is no record, and resuming records its trial again; any other damage is the
    # user's to mend.
    "ledger.jsonl": {
        "report": "lacks .* trials .*records them again|damaged .*or delete the line",
        "select": "trials have not ended; .*resume|damaged .*or delete the line",
        **AGAIN,
    },
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


@dataclass
class Storage:
    """The nights as they were left, and the copy of them that a test may damage."""

    whole: Path
    runs: Path
    _restored: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Inode and time of change of each file that is as it was left."""

    def restore(self) -> None:
        """Bring back whatever differs, and take away what is new."""
        wanted = set(files_of(self.whole))
        for path in [p for p in self.runs.rglob("*") if p.is_symlink() or not p.is_dir()]:
            if path.relative_to(self.runs).as_posix() not in wanted:
                path.unlink()
        for name in wanted:
            file = self.runs / name
            if file.is_symlink() or self._restored.get(name) != _identity(file):
                if file.is_dir() and not file.is_symlink():
                    file.rmdir()
                file.unlink(missing_ok=True)
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.whole / name, file)
                self._restored[name] = _identity(file)
        shutil.rmtree("copy", ignore_errors=True)

    def damage(self, name: str, kind: str) -> None:
        """Bring everything back and damage one file."""
        self.restore()
        file = self.runs / name
        content = file.read_bytes()
        file.unlink()
        if kind == FOLDER:
            file.mkdir()
        elif kind == LINK:
            file.symlink_to(self.whole / name)
        elif kind == BIT:
            file.write_bytes(with_changed_bit(content, name))
        elif kind != DELETED:
            file.write_bytes(CONTENTS[kind](content))
        if name.startswith("nights/"):  # they are read and written before a night counts as ended
            night = self.runs / ENDED / "night.json"
            about = decode_json(night.read_bytes())
            night.unlink()
            night.write_text(json.dumps({k: v for k, v in about.items() if k != "ended"}))


def _identity(file: Path) -> tuple[int, int]:
    try:
        status = file.lstat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def with_changed_bit(content: bytes, seed: str) -> bytes:
    """Change one bit, any of them. Locks are empty: there is no bit to change."""
    changed = bytearray(content)
    if changed:
        bit = random.Random(seed).randrange(8 * len(changed))
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@dataclass(frozen=True)
class Done:
    """What a command did: its exit code, its errors, and what a reader sees of it."""

    code: int
    errors: tuple[str, ...]
    shown: str
    stderr: str


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command in this process; return its exit code, stdout and stderr."""
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["dpo-sweeps", *arguments])
        patch.setattr(sys, "stdout", output)
        patch.setattr(sys, "stderr", errors)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    return stopped.value.code, output.getvalue(), errors.getvalue()


def do(storage: Storage, command: str) -> Done:
    """Run one of `COMMANDS`, and read what it shows and leaves."""
    code, shown, stderr = run(*COMMANDS[command])
    assert "Traceback" not in stderr, stderr
    errors = tuple(line for line in stderr.splitlines() if line.startswith("error: "))
    of_sweep = KILLED if "killed" in command else ENDED
    if command.startswith("report") and code == 0:
        report = storage.runs / of_sweep / "report"
        shown += (report / "index.html").read_text() + (report / "report.md").read_text()
    if command == "export" and code == 0:
        shown += "".join(
            f"{name} {hashlib.sha256(Path('copy', name).read_bytes()).hexdigest()}"
            for name in files_of(Path("copy"))
        )
    if command == "resume killed" and STOPS_HERE in stderr:
        records = ledger.read(Store.open(storage.runs / KILLED), "ledger.jsonl")
        shown += str([replace(record, seconds=0, ended="") for record in records])
    if command == "nightly" and code == 0:
        night = json.loads(shown)
        about = {k: v for k, v in night["about"].items() if k not in ("ended", "pointed")}
        shown = json.dumps({**night, "about": about}, sort_keys=True)
    if command == "resume":
        shown = re.sub(r'"seconds": [\d.]+', "", shown)  # nobody knows them of a lost record
    return Done(code, errors, shown, stderr)


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
        patch.setattr("os.fsync", lambda _: None)
        with without_ray():
            for night in ("2026-01-01", "2026-01-02"):
                assert run("nightly", "sweep.yaml", "--date", night)[0] == 0
            assert run("resume", f"runs/{ENDED}", "--set", "search.retries=5")[0] == 0
            assert run("report", f"runs/{ENDED}")[0] == 0
        with without_ray(killed_after=1):
            assert run("nightly", "sweep.yaml", "--date", "2026-01-03")[0] == 130
        shutil.copytree(folder / "runs", folder / "whole")
        # Half of the time of a resume, and tested in test_torn_files.py.
        study = folder / "whole" / ENDED / "study.db"
        publish = "sweeps.search.study.PublishedStudy.publish"
        patch.setattr(publish, lambda published, _: shutil.copyfile(study, published.file))
        with without_ray(stop=True):
            yield Storage(folder / "whole", folder / "runs")


@pytest.fixture(scope="module")
def undamaged(storage: Storage) -> dict[str, Done]:
    """What each command does with the whole files."""
    done = {}
    for command in COMMANDS:
        storage.restore()
        done[command] = do(storage, command)
        is_stopped = command in STOPPED and STOPS_HERE in done[command].stderr
        assert is_stopped or done[command].code == 0, (command, done[command].stderr)
    return done


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def pattern_of(name: str, table: Mapping[str, object]) -> str | None:
    """Return the first pattern of the table that fits a file."""
    return next((each for each in table if fnmatch.fnmatch(name, each)), None)


def files_of_line(folder: Path, pattern: str, table: Mapping[str, object]) -> list[str]:
    """Return the files that a line of the table is about."""
    return [name for name in files_of(folder) if pattern_of(name, table) == pattern]


RIGHT, REFUSED, TOLD, LEFT_OUT = "right", "refused", "told", "left out"
# What cannot be told from a sweep that never had the file, or lost it to a kill: reports without it.
LEFT_OUT_OF = {
    "nodes/*.json": ("report",),
    "config_changes.json": ("report",),
    "best/*": ("select",),  # no path: nothing whole is exported
    "nights/torn/incumbent.json": ("nightly",),  # its owner deletes it to go on without one
    "trend.json": ("report",),
    "selection.json": ("report",),  # the sweep has not ended, the report says
    "outcomes/t0002-step-000004.parquet": ("report killed",),
    "failures/t0001.json": ("resume killed",),  # the trial runs again
}


@dataclass(frozen=True)
class Case:
    """A file, what happens to it, and a command that comes upon it."""

    folder: str
    """ "" for what the nights share."""
    pattern: str
    kind: str
    command: str

    @property
    def expected(self) -> str | None:
        """What the table says: None where the command does not need the file."""
        return TABLES[self.folder][0][self.pattern].get(self.command)

    def file(self, whole: Path) -> str:
        """Return the first file of the line; where content does not matter, any of them."""
        names = files_of_line(whole / self.folder, self.pattern, TABLES[self.folder][0])
        is_any = self.kind not in CONTENTS
        return self.folder + (random.Random(str(self)).choice(names) if is_any else names[0])

    def try_it(self, storage: Storage, undamaged: Mapping[str, Done]) -> str:
        """Damage the file, run the command, and return which of the good ends it comes to."""
        name = self.file(storage.whole)
        storage.damage(name, self.kind)
        file = storage.runs / name
        before = file.read_bytes() if file.is_file() else None
        done, whole = do(storage, self.command), undamaged[self.command]
        end = self._end(done, whole, name)
        case = f"{name}, {self.kind}, {self.command}: {done.code}, {done.stderr}"
        assert end is not None, case
        assert (storage.whole / name).is_file(), f"written through a link: {case}"
        if self.expected == MADE_AGAIN and end == RIGHT and self.kind != BIT:
            # Outcomes of a trial that goes on are deleted: their step is evaluated again.
            assert not file.exists() or file.read_bytes() != before or self.kind == DELETED, case
        if self.kind in CONTENTS:
            self._check_words(done, end, name, case)
        return end

    def _end(self, done: Done, whole: Done, name: str) -> str | None:
        if (done.code, done.shown) == (whole.code, whole.shown) and (
            [STOPS_HERE in each for each in done.errors] == [True for _ in whole.errors]
        ):
            return RIGHT
        if done.code == 2 and len(done.errors) == 1 and STOPS_HERE not in done.errors[0]:
            # Reference log-probs are known by their folder, and openings by their register.
            known_by = name.split("/")[2] if name.startswith(".cache") else Path(name).name
            if known_by in done.errors[0]:
                return REFUSED
        if self.kind == DELETED and f"{name}: is missing" in done.stderr:
            return TOLD
        is_warned = any("warning: " in row and name in row for row in done.stderr.splitlines())
        if self.folder.startswith(KILLED) and is_warned:
            return TOLD
        if self.kind == DELETED and self.command in LEFT_OUT_OF.get(self.pattern, ()):
            return LEFT_OUT
        return None

    def _check_words(self, done: Done, end: str, name: str, case: str) -> None:
        if self.expected in (None, MADE_AGAIN):
            assert end in (RIGHT, TOLD), case
            return
        assert end == REFUSED, case
        assert re.search(self.expected, done.errors[0]), case
        if name.endswith(".json"):
            assert re.search(f"{re.escape(name)}: .*({PROBLEM[self.kind]})", done.errors[0]), case


TABLES = {
    f"{ENDED}/": (OF_ENDED_NIGHT, OF_ENDED),
    f"{KILLED}/": (OF_KILLED_NIGHT, OF_KILLED),
    "": (OF_STORAGE, OF_SHARED),
}
LINES = [(folder, pattern) for folder, (table, _) in TABLES.items() for pattern in table]
"""Every kind of file."""


def all_cases(folder: str, pattern: str) -> list[Case]:
    """Return every way of damage with every command; other contents with the cheapest that reads."""
    table, commands = TABLES[folder]
    # A night that goes on reads what a resume reads, and its own file.
    tried = [each for each in commands if each != "nightly killed" or each in table[pattern]]
    cases = [Case(folder, pattern, kind, command) for kind in KINDS for command in tried]
    readers = [command for command in commands if command in table[pattern]]
    others = [Case(folder, pattern, kind, each) for kind in OTHER_CONTENT for each in readers[:1]]
    return cases + others


def one_case(number: int, folder: str, pattern: str) -> Case:
    """Return one way of damage with one command, the cheapest that reads the file."""
    table, commands = TABLES[folder]
    command = next((each for each in commands if each in table[pattern]), commands[0])
    return Case(folder, pattern, KINDS[number % len(KINDS)], command)


@pytest.mark.parametrize(
    "case",
    [one_case(number, *line) for number, line in enumerate(LINES)],
    ids=lambda case: f"{case.folder}{case.pattern}, {case.kind}, {case.command}",
)
def test_a_damaged_file(storage: Storage, undamaged: Mapping[str, Done], case: Case) -> None:
    case.try_it(storage, undamaged)


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "pattern"), LINES)
def test_every_damage_and_every_command(
    storage: Storage, undamaged: Mapping[str, Done], folder: str, pattern: str
) -> None:
    failures = []
    for case in all_cases(folder, pattern):
        try:
            case.try_it(storage, undamaged)
        except AssertionError as error:
            failures.append(str(error).partition("\nassert")[0])
    assert not failures, "\n".join(failures)


def test_every_file_has_a_line(storage: Storage) -> None:
    """A file of which no table knows: which command reads it, and what if it is damaged?"""
    ended = files_of(storage.whole / ENDED)
    shared = [name for name in files_of(storage.whole) if not name.startswith("torn-")]
    unknown = [name for name in ended if pattern_of(name, OF_ENDED_NIGHT) is None]
    assert unknown + [name for name in shared if pattern_of(name, OF_STORAGE) is None] == []


@pytest.mark.parametrize("name", ["night.json", "selection.json"])
def test_an_earlier_night_that_cannot_be_read_does_not_cost_tonight(
    storage: Storage, name: str
) -> None:
    storage.damage(f"{ENDED}/{name}", "cut off")
    with without_ray():
        code, _, stderr = run(*COMMANDS["nightly killed"])
    assert code == 0, stderr
    assert f"{ENDED} is left out of the trend: " in stderr
    trend = decode_json((storage.runs / KILLED / "trend.json").read_bytes())
    assert [row["sweep"] for row in trend] == ["torn-2026-01-01", KILLED]


@pytest.mark.parametrize("name", ["model.safetensors", "dpo-sweeps.json"])
def test_a_damaged_model_is_neither_copied_nor_compared_with_until_it_is_exported_again(
    storage: Storage, name: str
) -> None:
    file = f"{ENDED}/best/{name}"
    storage.damage(file, BIT)
    for command in ("export", "next night"):
        code, _, stderr = run(*COMMANDS[command])
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
    code, _, stderr = run("clean", f"runs/{ENDED}", "--yes")
    assert (code, stderr) == (0, "")
    ended = storage.runs / ENDED
    assert not (ended / "checkpoints").exists()
    before = decode_json((ended / "selection.json").read_bytes())
    opened = (ended / "final_opened.json").read_bytes()
    with without_ray():
        for command in (*OF_ENDED, "nightly killed"):
            assert run(*COMMANDS[command])[0] == 0, command
        assert run("select", f"runs/{ENDED}", "--write")[0] == 0
        after = decode_json((ended / "selection.json").read_bytes())
        same = ("winner", "verdict", "candidates", "trials")
        assert {key: after[key] for key in same} == {key: before[key] for key in same}
        for setting in ("export.dtype=bfloat16", "selection.confirm.top=0"):
            again = ("--set", setting, "--write", "--open-final-again")
            code, _, stderr = run("select", f"runs/{ENDED}", *again)
            assert (code, stderr.count("error: ")) == (2, 1), stderr
            assert re.search("error: .*`dpo-sweeps clean` removed the checkpoints", stderr), stderr
    assert (ended / "final_opened.json").read_bytes() == opened
    assert decode_json((ended / "selection.json").read_bytes()) == after
    about = decode_json((storage.runs / KILLED / "night.json").read_bytes())
    assert about["incumbent"]["sweep"] == ENDED


def test_a_killed_sweep_that_was_cleaned_begins_its_open_trials_anew(storage: Storage) -> None:
    storage.restore()
    code, _, stderr = run("clean", "runs", "--yes", "--unfinished", KILLED)
    assert (code, stderr) == (0, "")
    with without_ray():
        assert run("resume", f"runs/{KILLED}")[0] == 0
