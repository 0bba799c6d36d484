"""Held-out preference accuracy: exact, tie-aware, length-aware. Pure; no torch.

Per pair the sums and lengths of both answers are kept under policy and reference, and everything
that is ever said about accuracy is computed here from those columns: counts first, division last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OBJECTIVES = ("reward_accuracy", "token_reward_accuracy", "likelihood_accuracy")
# Sums within this many nats are equal: what remains of float noise when the same weights are run
# with other kernels or thread counts. bf16 keeps 8 bits, so its noise is larger.
TIE_NATS = {"float32": 1e-4, "bfloat16": 1e-2, "float16": 1e-2}


@dataclass(frozen=True)
class Count:
    """Pairs in which the chosen answer wins, ties, and all of them."""

    correct: int
    ties: int
    total: int

    @property
    def accuracy(self) -> float:
        """(correct + ½·ties) / total, in [0, 1]; ½ for an empty slice, which knows nothing."""
        return (self.correct + 0.5 * self.ties) / self.total if self.total else 0.5

    def __add__(self, other: Count) -> Count:
        return Count(self.correct + other.correct, self.ties + other.ties, self.total + other.total)

    def as_dict(self) -> dict[str, Any]:
        return {
            "correct": self.correct,
            "ties": self.ties,
            "total": self.total,
            "accuracy": self.accuracy,
        }


@dataclass(frozen=True)
class Outcomes:
    """One evaluation, pair by pair. Sums in nats, lengths in tokens, every column (pairs,)."""

    ids: tuple[str, ...]
    chosen_logp: Floats
    rejected_logp: Floats
    ref_chosen_logp: Floats
    ref_rejected_logp: Floats
    chosen_tokens: Ints
    rejected_tokens: Ints
    tie_nats: float = TIE_NATS["float32"]

    def __post_init__(self) -> None:
        for name in NUMBERS:
            column = getattr(self, name)
            if column.shape != (len(self.ids),):
                raise ValueError(f"{name}: {column.shape} values for {len(self.ids)} pairs")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("a pair was scored twice; every held-out pair counts once")

    @cached_property
    def chosen_gain(self) -> Floats:
        """Δ_w = log π(y_w) − log π_ref(y_w), nats."""
        return self.chosen_logp - self.ref_chosen_logp

    @cached_property
    def rejected_gain(self) -> Floats:
        """Δ_l = log π(y_l) − log π_ref(y_l), nats."""
        return self.rejected_logp - self.ref_rejected_logp

    def margins(self, objective: str) -> Floats:
        """What must be above zero for the pair to be correct: nats, or nats per token."""
        if objective == "reward_accuracy":
            return self.chosen_gain - self.rejected_gain
        if objective == "token_reward_accuracy":
            return self.chosen_gain / self.chosen_tokens - self.rejected_gain / self.rejected_tokens
        if objective == "likelihood_accuracy":
            return self.chosen_logp - self.rejected_logp
        raise ValueError(f"objective: {objective!r} is unknown; use one of {', '.join(OBJECTIVES)}")

    def signs(self, objective: str) -> npt.NDArray[np.int8]:
        """+1 correct, 0 tie, −1 wrong, per pair. A margin that is no number is wrong, not a tie."""
        margins, limit = self.margins(objective), self._tie_limit(objective)
        signs = np.where(margins > limit, 1, np.where(margins < -limit, -1, 0))
        return np.where(np.isnan(margins), -1, signs).astype(np.int8)

    def count(self, objective: str, where: npt.NDArray[np.bool_] | None = None) -> Count:
        signs = self.signs(objective)
        if where is not None:
            signs = signs[where]
        return Count(int((signs > 0).sum()), int((signs == 0).sum()), len(signs))

    def counts(self) -> dict[str, Count]:
        return {name: self.count(name) for name in OBJECTIVES}

    @property
    def as_reference(self) -> Outcomes:
        """The same pairs as the untouched policy scores them: all rewards tie."""
        return Outcomes(
            self.ids,
            self.ref_chosen_logp,
            self.ref_rejected_logp,
            self.ref_chosen_logp,
            self.ref_rejected_logp,
            self.chosen_tokens,
            self.rejected_tokens,
            self.tie_nats,
        )

    def _tie_limit(self, objective: str) -> Floats | float:
        if objective != "token_reward_accuracy":
            return self.tie_nats
        limit: Floats = self.tie_nats / np.minimum(self.chosen_tokens, self.rejected_tokens)
        return limit


NUMBERS = (
    "chosen_logp",
    "rejected_logp",
    "ref_chosen_logp",
    "ref_rejected_logp",
    "chosen_tokens",
    "rejected_tokens",
)


def length_slices(outcomes: Outcomes, objective: str) -> dict[str, Any]:
    """Is the policy right, or does it like long answers? science: length exploitation.

    `length_controlled` is the unweighted mean of the two slices: what is left of the accuracy when
    longer and shorter chosen answers weigh the same.
    """
    gap = outcomes.chosen_tokens - outcomes.rejected_tokens
    longer = outcomes.count(objective, gap > 0)
    shorter = outcomes.count(objective, gap < 0)
    longer_wins = Count(int((gap > 0).sum()), int((gap == 0).sum()), len(gap))
    return {
        "chosen_longer": longer.as_dict(),
        "chosen_shorter": shorter.as_dict(),
        "length_controlled": (longer.accuracy + shorter.accuracy) / 2,
        "longer_wins": longer_wins.accuracy,
        "margin_length_correlation": _correlation(outcomes.margins(objective), gap),
    }


def label_slices(
    outcomes: Outcomes, objective: str, labels: Mapping[str, Mapping[str, str | None]]
) -> dict[str, dict[str, Any]]:
    """Counts by source and by category: `labels` maps what is told apart to each pair's value.

    Only what takes more than one value is told apart; pairs without a value count as "none".
    """
    slices: dict[str, dict[str, Any]] = {}
    for kind, of_pair in labels.items():
        values = np.array([of_pair.get(i) or "none" for i in outcomes.ids])
        found = sorted(set(values))
        if len(found) > 1:
            slices[kind] = {v: outcomes.count(objective, values == v).as_dict() for v in found}
    return slices


def write_outcomes(outcomes: Outcomes, metadata: Mapping[str, Any]) -> bytes:
    """A Parquet file: one row a pair, what the evaluation was in the schema's metadata."""
    columns: dict[str, Any] = {"id": list(outcomes.ids)}
    columns.update({name: getattr(outcomes, name) for name in NUMBERS})
    about = json.dumps({**metadata, "tie_nats": outcomes.tie_nats})
    table = pa.table(columns).replace_schema_metadata({b"evaluation": about.encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read_outcomes(content: bytes) -> tuple[Outcomes, dict[str, Any]]:
    """The inverse. Raises pyarrow.ArrowInvalid on a torn file."""
    table = pq.read_table(pa.BufferReader(content))
    metadata: dict[str, Any] = json.loads(table.schema.metadata[b"evaluation"])
    numbers = {name: table[name].to_numpy() for name in NUMBERS}
    ids: Sequence[str] = table["id"].to_pylist()
    return Outcomes(tuple(ids), **numbers, tie_nats=metadata.pop("tie_nats")), metadata


def read_outcomes_if_whole(content: bytes) -> tuple[Outcomes, dict[str, Any]] | None:
    """The same; None for a torn file."""
    try:
        return read_outcomes(content)
    except (ValueError, OSError, KeyError, TypeError):
        return None


def _correlation(left: Floats, right: Ints) -> float | None:
    if len(left) < 2 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    value = float(np.corrcoef(left, right)[0, 1])
    return value if np.isfinite(value) else None
