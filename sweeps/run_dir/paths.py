"""The names of all files of a run directory and of the nights; no other module spells one.

<storage>/<sweep id>/
    config.yaml                          the resolved config
    config_changes.json                  the keys that changed when the sweep went on
    splits/{train,select,final}.jsonl    normalized pairs, each with a stable id
    pairs/{train,select,final}.arrow     the same as they were read, before the model answered any
    pairs/sha256.json                    their digests; those of other files are in prepared.json
    encoded/{train,select,final}.arrow   their tokens, mapped into memory by whoever needs them
    prepared.json                        hashes, encoding report, reference keys
    trials/t0003.json                    a point, written when it is drawn
    trials/t0003-s1.json                 the same point with another seed
    outcomes/t0003-step-000040.parquet   per-pair numbers of one evaluation
    checkpoints/t0003/step-000040/       weights that can still win or be trained further
    failures/t0003.json                  why a trial failed
    nodes/gpu-7.json                     hardware of a node that trained
    ledger.jsonl                         one record per ended trial, from which the rest is derived
    study.db                             the same for optuna-dashboard
    answers.json                         generated answers of candidates, reference and incumbent
    final_opened.json                    when the final split was opened, and for which candidate
    selection.json, best/                the chosen candidate, compared and exported
    night.json, warm_start.json          of a night: what it began with, and how it ended
    audit.json, trend.json               findings on the data; rows of the earlier nights
    report/{index.html,report.md}        the report
    ray/                                 Ray's own files
    cleaned.json                         which of these folders `dpo-sweeps clean` removed
<storage>/.cache/reference/<key>/        reference log-probs, shared by sweeps
<storage>/.leases/                       which process has the lock of which sweep or nights
<storage>/.finals/                       every opening of a final split, by all sweeps and nights
<storage>/nights/<name>/                 latest.json and incumbent.json: which night, which model
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from dpo_core.errors import SettingsError
from dpo_core.storage.partial import PARTIAL_PREFIX, find_partial
from dpo_core.storage.store import Store

SPLITS = ("train", "select", "final")
_SHARED = (".cache", ".leases", ".finals", "nights")
_OUTCOME = re.compile(r"^(?P<trial>t\d{4,}(-s\d+)?)-step-(?P<step>\d{6,})\.parquet$")


@dataclass(frozen=True)
class SweepPaths:
    """The paths of one sweep; names are relative to its own store."""

    storage: Store
    sweep_id: str

    @classmethod
    def of_folder(cls, uri: str) -> SweepPaths:
        """Return the paths of the sweep in the folder `uri`, which `run` prints."""
        if "://" not in uri:  # `.` and `..` have a name too, once resolved
            folder = Path(uri).expanduser().resolve()
            return cls(Store.open(folder.parent), folder.name)
        parent, _, name = uri.rstrip("/").rpartition("/")
        return cls(Store.open(parent), name)

    @property
    def store(self) -> Store:
        return self.storage.at(self.sweep_id)

    @property
    def ref(self) -> SweepRef:
        """Return what another process opens this sweep with."""
        return SweepRef(self.storage.uri, self.sweep_id)

    @property
    def train_runs(self) -> str:
        """The folder where Ray Train keeps its own files."""
        return f"{self.store.uri}/{self.ray}/train"

    @property
    def reference_cache(self) -> Store:
        return self.storage.at(".cache/reference")

    @property
    def leases(self) -> Store:
        return self.storage.at(".leases")

    def partial_files(self) -> list[Path]:
        """Return what is being written into the sweep's folder, or was when a process was killed.

        None in an object store. Ray's own files are left out.
        """
        folder = self.store.local
        return [] if folder is None else find_partial(folder, {self.ray})

    def shared_partial_files(self) -> list[Path]:
        """Return the same of the storage's own folders, which all sweeps share."""
        storage = self.storage.local
        if storage is None:
            return []
        directly = storage.glob(f"{PARTIAL_PREFIX}*")
        return [*directly, *(path for name in _SHARED for path in find_partial(storage / name))]

    config = "config.yaml"
    config_changes = "config_changes.json"
    prepared = "prepared.json"
    pairs_digests = "pairs/sha256.json"
    ledger = "ledger.jsonl"
    study = "study.db"
    answers = "answers.json"
    final_opened = "final_opened.json"
    selection = "selection.json"
    best = "best"
    night = "night.json"
    warm_start = "warm_start.json"
    audit = "audit.json"
    trend = "trend.json"
    report_page = "report/index.html"
    report_markdown = "report/report.md"
    nodes = "nodes"
    trials = "trials"
    outcomes = "outcomes"
    checkpoints = "checkpoints"
    failures = "failures"
    ray = "ray"
    cleaned = "cleaned.json"

    @staticmethod
    def split(name: str) -> str:
        return f"splits/{name}.jsonl"

    @staticmethod
    def pairs(name: str) -> str:
        return f"pairs/{name}.arrow"

    @staticmethod
    def encoded(name: str) -> str:
        return f"encoded/{name}.arrow"

    @staticmethod
    def point(trial: str) -> str:
        return f"trials/{trial}.json"

    @staticmethod
    def failure(trial: str) -> str:
        return f"failures/{trial}.json"

    @staticmethod
    def node(host: str) -> str:
        return f"nodes/{re.sub(r'[^A-Za-z0-9.-]', '_', host)}.json"

    @staticmethod
    def outcome(trial: str, step: int) -> str:
        return f"outcomes/{trial}-step-{step:06d}.parquet"

    @staticmethod
    def final_outcome(trial: str, step: int) -> str:
        return f"outcomes/{trial}-step-{step:06d}-final.parquet"

    @staticmethod
    def incumbent_outcome(split: str) -> str:
        return f"outcomes/incumbent-{split}.parquet"

    @staticmethod
    def checkpoint(trial: str, step: int) -> str:
        return f"checkpoints/{trial}/{step_name(step)}"

    @staticmethod
    def trial_name(number: int) -> str:
        return f"t{number:04d}"

    @staticmethod
    def confirmation_name(trial: str, number: int) -> str:
        """Name the trial that trains the point of `trial` with its `number`th new seed, from 1."""
        return f"{trial}-s{number}"

    @staticmethod
    def confirms(trial: str) -> str | None:
        """Return the trial whose point this one trains again; None for a trial of the search."""
        searched, dash, _ = trial.partition("-s")
        return searched if dash else None

    def evaluations_of(self, trial: str) -> list[tuple[int, str]]:
        """Return (step, file name) of every stored evaluation of a trial, by step."""
        matches = (_OUTCOME.match(name) for name in self.store.names(self.outcomes))
        return sorted(
            (int(match["step"]), f"{self.outcomes}/{match.string}")
            for match in matches
            if match and match["trial"] == trial
        )

    def checkpoint_steps(self, trial: str) -> list[int]:
        """Return the steps at which a trial has a checkpoint, in order."""
        names = self.store.names(f"{self.checkpoints}/{trial}")
        return sorted(int(name.removeprefix("step-")) for name in names if name.startswith("step-"))


@dataclass(frozen=True)
class SweepRef:
    """The address of a sweep: all that another process needs to open its folder.

    `storage` is the URI of the folder that holds the sweep's own.
    """

    storage: str
    sweep_id: str

    @property
    def paths(self) -> SweepPaths:
        """Open the storage in this process."""
        return SweepPaths(Store.open(self.storage), self.sweep_id)


def open_storage(storage: str) -> Store:
    """Open the folder or URI of the key `storage`. Raises SettingsError where a file is in the way."""
    store = Store.open(storage)
    folders = [] if store.local is None else [store.local, *store.local.parents]
    file = next((path for path in folders if path.is_file()), None)
    if file is not None:
        named = storage if file == store.local else f"{storage}: {file}"
        raise SettingsError(f"storage: {named} is a file; give a folder or a URI")
    return store


def checked_sweep_id(sweep_id: str) -> str:
    """Return a sweep's id if it is one plain folder name. Raises SettingsError for any other."""
    if not re.fullmatch(r"[A-Za-z0-9][-\w.]{0,99}", sweep_id, re.ASCII):
        raise SettingsError(
            f"--id {sweep_id[:120]}: is no folder name; begin with a letter or digit and use only "
            "those, - . and _, 100 at most"
        )
    return sweep_id


@dataclass(frozen=True)
class NightPaths:
    """The nights of one name, each a sweep of its own, and the pointers to two of them."""

    storage: Store
    name: str

    def sweep(self, night: date) -> SweepPaths:
        return SweepPaths(self.storage, f"{self.name}-{night.isoformat()}")

    def nights(self) -> list[date]:
        """Return the nights that have a folder, the oldest first."""
        pattern = re.compile(rf"{re.escape(self.name)}-(\d{{4}}-\d\d-\d\d)")
        matches = (pattern.fullmatch(name) for name in self.storage.names())
        return sorted(date.fromisoformat(match[1]) for match in matches if match)

    @property
    def lease(self) -> str:
        return f"{self.name}-nights"

    @property
    def latest(self) -> str:
        return f"nights/{self.name}/latest.json"

    @property
    def incumbent(self) -> str:
        return f"nights/{self.name}/incumbent.json"


def step_name(step: int) -> str:
    return f"step-{step:06d}"


def new_sweep_id(name: str, now: datetime | None = None) -> str:
    """Join name and UTC second: ids sort by time, and two sweeps of one config do not collide."""
    return f"{name}-{(now or datetime.now(UTC)).strftime('%Y%m%d-%H%M%S')}"


CheckpointKey = tuple[str, int]
"""(trial, step) of a checkpoint."""
