"""The ledger of a sweep: an append-only file with one checksummed line per ended trial.

Everything else (Tune's state, the Optuna study, selection.json) can be rebuilt from it. An incomplete
last line, as a kill leaves it, is not a record; a damaged line elsewhere is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypedDict

from dpo_core.errors import UserError
from dpo_core.evaluation.failure_modes import drift_and_displacement, largest_drift
from dpo_core.evaluation.outcomes import Outcomes, label_slices, length_slices
from dpo_core.storage.names import stays_inside
from dpo_core.storage.store import Store
from sweeps.run_dir.lock import check_locks
from sweeps.run_dir.paths import step_name

FINISHED: Final = "finished"
FAILED: Final = "failed"
STOPPED: Final = "stopped"


class LedgerError(UserError):
    """A ledger that cannot be trusted."""


@dataclass(frozen=True)
class EvaluationRecord:
    """One held-out evaluation: counts for every objective, slices, failure modes; loss in nats."""

    step: int
    loss: float
    counts: Mapping[str, Mapping[str, Any]]
    slices: Mapping[str, Any]
    health: Mapping[str, Any]
    violations: Mapping[str, float] = field(default_factory=dict)
    """What keeps the checkpoint from winning, by name, where the number is above 0."""

    @property
    def can_win(self) -> bool:
        """Return whether the checkpoint moved the model enough and no guardrail excludes it."""
        return all(number <= 0 for number in self.violations.values())

    @property
    def chosen_gain(self) -> float:
        """Return what held-out chosen answers gained in log-prob, in nats per token."""
        return float(self.health["drift_chosen"])

    def accuracy(self, objective: str) -> float:
        """Return the share of pairs ranked correctly, a tie as half a pair."""
        counts = self.counts[objective]
        return float((counts["correct"] + 0.5 * counts["ties"]) / counts["total"])

    @property
    def drift(self) -> float:
        """The largest drift from the reference, in nats per token."""
        return largest_drift(self.health)


@dataclass(frozen=True)
class TrialRecord:
    """The record of an ended trial: finished, failed (with `reason`) or stopped by the scheduler.

    `confirms` names the trial of the search whose point this one trained again with another seed.
    """

    trial: str
    point: Mapping[str, Any]
    status: str
    seed: int
    evaluations: tuple[EvaluationRecord, ...] = ()
    reason: str | None = None
    detail: str | None = None
    seconds: float = 0.0
    ended: str = ""  # UTC, ISO 8601
    loss_beta: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    confirms: str | None = None

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> TrialRecord:
        """Return the record that a line of the ledger or of `warm_start.json` holds."""
        evaluations = tuple(EvaluationRecord(**e) for e in row["evaluations"])
        return cls(**{**row, "evaluations": evaluations})


def searched(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials of the search, without those that confirm its best points."""
    return [record for record in records if record.confirms is None]


def append(store: Store, name: str, record: TrialRecord) -> None:
    """Append a record durably; first remove an incomplete last line, if there is one.

    Args:
        store: The run directory.
        name: The ledger's name there.
        record: An ended trial that has no record yet.

    Raises:
        LedgerError: The last line is complete, and its end is damaged.
        Busy: Another process has taken over a lock of this one.
    """
    line = _line(record)
    check_locks()
    if store.exists(name):
        content = store.read(name)
        if content and not content.endswith(b"\n"):
            *lines, incomplete = content.split(b"\n")
            _check_incomplete(incomplete, len(lines) + 1, f"{store.uri}/{name}")
            store.write(name, content[: len(content) - len(incomplete)])
    store.append(name, line)


def read(store: Store, name: str) -> list[TrialRecord]:
    """Read every record, in order. Raises LedgerError for a damaged or repeated one."""
    if not store.exists(name):
        return []
    *lines, incomplete = store.read(name).split(b"\n")
    file = f"{store.uri}/{name}"
    records = [_record(line, number, file) for number, line in enumerate(lines, 1)]
    _check_incomplete(incomplete, len(lines) + 1, file)
    trials = [record.trial for record in records]
    repeated = next((t for t in trials if trials.count(t) > 1), None)
    if repeated:
        raise LedgerError(
            f"{file}: trial {repeated} is recorded twice; keep the first of its lines"
        )
    return records


def _line(record: TrialRecord) -> bytes:
    body = json.dumps(asdict(record), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f'{{"sha256":"{_digest(body)}","record":{body}}}\n'.encode()


def _record(line: bytes, number: int, file: str) -> TrialRecord:
    try:
        row = json.loads(line)
        body = json.dumps(row["record"], sort_keys=True, separators=(",", ":"))
        if row["sha256"] != _digest(body):
            raise ValueError("the checksum does not match")
        record = TrialRecord.from_dict(row["record"])
        names = (record.trial, *(step_name(each.step) for each in record.evaluations))
        if not all(map(stays_inside, names)):
            raise ValueError(f"{record.trial!r} is no name of a trial")
        return record
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(file, number, str(error)) from None


def _check_incomplete(line: bytes, number: int, file: str) -> None:
    """Refuse a complete record with another byte where the line should end: no kill leaves that."""
    try:
        _record(line[:-1], number, file)
    except LedgerError:
        return
    raise _damaged(file, number, "its end is no end of a line")


def _damaged(file: str, number: int, problem: str) -> LedgerError:
    return LedgerError(
        f"{file}:{number}: damaged ({problem}); restore the file from a copy, or delete the line "
        "and `dpo-sweeps resume` runs its trial again"
    )


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


class EvaluationMetadata(TypedDict):
    """The metadata of stored outcomes, as far as the ledger needs it; the loss is in nats."""

    step: int
    loss: float


def evaluation_record(
    metadata: EvaluationMetadata,
    outcomes: Outcomes,
    labels: Mapping[str, Mapping[str, str | None]],
    violations: Mapping[str, float],
) -> EvaluationRecord:
    """Reduce a stored evaluation to what the ledger keeps.

    Args:
        metadata: `step` and `loss` (nats) of the evaluation.
        outcomes: Its numbers, of shape (pairs,).
        labels: `source` and `category` of each pair, by its id.
        violations: What keeps the checkpoint from winning, by name, where it is above 0.

    Returns:
        Counts, slices and failure modes; no number of a single pair.
    """
    counts = outcomes.counts()
    return EvaluationRecord(
        step=metadata["step"],
        loss=metadata["loss"],
        counts={
            n: {"correct": c.correct, "ties": c.ties, "total": c.total} for n, c in counts.items()
        },
        slices={
            name: length_slices(outcomes, name) | label_slices(outcomes, name, labels)
            for name in counts
        },
        health=drift_and_displacement(outcomes),
        violations=violations,
    )
