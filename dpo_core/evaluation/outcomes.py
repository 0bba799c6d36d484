"""Held-out preference accuracy: exact, tie-aware, length-aware. Pure; no torch.

Per pair the sums and lengths of both answers are kept under policy and reference, and every
accuracy of the program is computed here from those columns: counts first, division last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.scoring.reference_cache import Columns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OBJECTIVES = ("reward_accuracy", "token_reward_accuracy", "likelihood_accuracy")
# Sums within this many nats are equal: the noise of float32 for the same weights under other kernels
# or thread counts. That of lower precision is no tie; it is measured, and decides what has moved.
TIE_NATS = 1e-4


@dataclass(frozen=True)
class Count:
    """The number of pairs that are correct (the chosen answer wins), tied, and counted in all."""

    correct: int
    ties: int
    total: int

    @property
    def accuracy(self) -> float:
        """Return (correct + ½·ties) / total, in [0, 1]; ½ for no pairs at all."""
        return (self.correct + 0.5 * self.ties) / self.total if self.total else 0.5

    def __add__(self, other: Count) -> Count:
        return Count(self.correct + other.correct, self.ties + other.ties, self.total + other.total)

    def as_dict(self) -> dict[str, Any]:
        """Return counts and accuracy as JSON content."""
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
    tie_nats: float = TIE_NATS

    def __post_init__(self) -> None:
        for name in NUMBER_COLUMNS:
            column = getattr(self, name)
            if column.shape != (len(self.ids),):
                raise ValueError(f"{name}: {column.shape} values for {len(self.ids)} pairs")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("a pair was scored twice; every held-out pair counts once")

    @cached_property
    def chosen_gain(self) -> Floats:
        """Compute Δ_w = log π(y_w) − log π_ref(y_w), nats, (pairs,)."""
        return self.chosen_logp - self.ref_chosen_logp

    @cached_property
    def rejected_gain(self) -> Floats:
        """Compute Δ_l = log π(y_l) − log π_ref(y_l), nats, (pairs,)."""
        return self.rejected_logp - self.ref_rejected_logp

    def margins(self, objective: str) -> Floats:
        """Compute what must be above zero for a pair to be correct, (pairs,).

        `reward_accuracy` has Δ_w − Δ_l in nats, `token_reward_accuracy` Δ_w/|y_w| − Δ_l/|y_l| in
        nats per token, `likelihood_accuracy` log π(y_w) − log π(y_l) in nats. Raises ValueError for
        another objective.
        """
        if objective == "reward_accuracy":
            return self.chosen_gain - self.rejected_gain
        if objective == "token_reward_accuracy":
            return self.chosen_gain / self.chosen_tokens - self.rejected_gain / self.rejected_tokens
        if objective == "likelihood_accuracy":
            return self.chosen_logp - self.rejected_logp
        raise ValueError(f"objective: {objective!r} is unknown; use one of {', '.join(OBJECTIVES)}")

    def signs(self, objective: str) -> npt.NDArray[np.int8]:
        """Return +1 correct, 0 tie, −1 wrong, (pairs,). A margin that is NaN is wrong, not a tie."""
        margins, limit = self.margins(objective), self._tie_limit(objective)
        signs = np.where(margins > limit, 1, np.where(margins < -limit, -1, 0))
        return np.where(np.isnan(margins), -1, signs).astype(np.int8)

    def count(self, objective: str, where: npt.NDArray[np.bool_] | None = None) -> Count:
        """Count the pairs, or those that the mask `where`, (pairs,), selects."""
        signs = self.signs(objective)
        if where is not None:
            signs = signs[where]
        return Count(int((signs > 0).sum()), int((signs == 0).sum()), len(signs))

    def counts(self) -> dict[str, Count]:
        """Count all pairs by objective."""
        return {name: self.count(name) for name in OBJECTIVES}

    @property
    def as_reference(self) -> Outcomes:
        """Return the outcomes of the untouched policy on the same pairs: all rewards tie."""
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


NUMBER_COLUMNS = (
    "chosen_logp",
    "rejected_logp",
    "ref_chosen_logp",
    "ref_rejected_logp",
    "chosen_tokens",
    "rejected_tokens",
)


def build_outcomes(pairs: Sequence[EncodedPair], policy: Columns, reference: Columns) -> Outcomes:
    """Build outcomes from the columns of policy and reference.

    Args:
        pairs: The pairs that were scored.
        policy: Columns under the policy, (pairs,) each, in the order of `pairs`.
        reference: Columns under the reference, computed in the same precision.

    Returns:
        The outcomes, in float64.
    """
    return Outcomes(
        ids=tuple(TokenTable.of(pairs).ids),
        chosen_logp=policy["chosen"].astype(np.float64),
        rejected_logp=policy["rejected"].astype(np.float64),
        ref_chosen_logp=reference["chosen"].astype(np.float64),
        ref_rejected_logp=reference["rejected"].astype(np.float64),
        chosen_tokens=policy["chosen_tokens"].astype(np.int64),
        rejected_tokens=policy["rejected_tokens"].astype(np.int64),
    )


def length_slices(outcomes: Outcomes, objective: str) -> dict[str, Any]:
    """Count separately where the chosen answer is longer and where it is shorter.

    They tell a policy that ranks by quality from one that ranks by length (length exploitation).
    `length_controlled` is the unweighted mean of the two slices: what is left of the accuracy when
    longer and shorter chosen answers weigh the same. `longer_wins` is the accuracy of a policy that
    always prefers the longer answer; `margin_length_correlation` is Pearson's r of margin and
    difference of length, or None where one of them does not vary.
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
    """Count separately by source, by category, or by any other label of the pairs.

    Args:
        outcomes: One evaluation.
        objective: One of `OBJECTIVES`.
        labels: For each kind of label, the value of each pair by its id; None or no entry counts
            as "none".

    Returns:
        Counts by kind and value, for the kinds that have more than one value.
    """
    return {
        kind: {value: outcomes.count(objective, mask).as_dict() for value, mask in masks.items()}
        for kind, masks in label_masks(outcomes.ids, labels).items()
    }


def label_masks(
    ids: Sequence[str], labels: Mapping[str, Mapping[str, str | None]]
) -> dict[str, dict[str, npt.NDArray[np.bool_]]]:
    """Return which pairs have each value of a label.

    Args:
        ids: Ids of the pairs.
        labels: As `label_slices` takes them.

    Returns:
        Masks, (pairs,), by kind and value, for the kinds that have more than one value.
    """
    masks: dict[str, dict[str, npt.NDArray[np.bool_]]] = {}
    for kind, value_of in labels.items():
        values = np.array([value_of.get(i) or "none" for i in ids])
        distinct = sorted(set(values))
        if len(distinct) > 1:
            masks[kind] = {str(value): values == value for value in distinct}
    return masks


def write_outcomes(outcomes: Outcomes, metadata: Mapping[str, object]) -> bytes:
    """Encode outcomes as a Parquet file: one row per pair, `metadata` in that of the schema.

    The file has the digest of what it holds, which `read_outcomes` checks: a changed bit is noticed.
    """
    columns: dict[str, Any] = {"id": list(outcomes.ids)}
    columns.update({name: getattr(outcomes, name) for name in NUMBER_COLUMNS})
    about = json.dumps({**metadata, "tie_nats": outcomes.tie_nats})
    about_and_digest = {_ABOUT: about.encode(), _DIGEST: _digest(outcomes, about.encode())}
    table = pa.table(columns).replace_schema_metadata(about_and_digest)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read_outcomes(content: bytes) -> tuple[Outcomes, dict[str, Any]]:
    """Decode what `write_outcomes` encoded.

    Args:
        content: The bytes of the file.

    Returns:
        The outcomes, and their metadata.

    Raises:
        pyarrow.ArrowInvalid: The file is cut off or no Parquet file.
        ValueError: It does not hold what was written.
    """
    table = pq.read_table(pa.BufferReader(content))
    stored: Mapping[bytes, bytes] = table.schema.metadata
    metadata: dict[str, Any] = json.loads(stored[_ABOUT])
    numbers = {name: table[name].to_numpy() for name in NUMBER_COLUMNS}
    if table.schema.field("id").type != pa.string():
        raise ValueError("its ids are no text")
    ids: Sequence[str] = table["id"].to_pylist()
    outcomes = Outcomes(tuple(ids), **numbers, tie_nats=metadata.pop("tie_nats"))
    digest = stored.get(_DIGEST)  # files of earlier versions have none
    if digest is not None and digest != _digest(outcomes, stored[_ABOUT]):
        raise ValueError("its digest is that of other outcomes")
    return outcomes, metadata


_ABOUT, _DIGEST = b"evaluation", b"sha256"


def _digest(outcomes: Outcomes, about: bytes) -> bytes:
    digest = hashlib.sha256(b"\0".join([about, *(id.encode() for id in outcomes.ids)]))
    for name in NUMBER_COLUMNS:
        kind = np.int64 if name.endswith("_tokens") else np.float64
        digest.update(np.ascontiguousarray(getattr(outcomes, name), kind).tobytes())
    return digest.hexdigest().encode()


def read_outcomes_if_whole(content: bytes) -> tuple[Outcomes, dict[str, Any]] | None:
    """Decode what `write_outcomes` encoded, or give up on a damaged file.

    Args:
        content: The bytes of the file.

    Returns:
        The outcomes and their metadata, or None.
    """
    try:
        return read_outcomes(content)
    except (ValueError, OSError, KeyError, TypeError, MemoryError, pa.ArrowException):
        return None


def _correlation(left: Floats, right: Ints) -> float | None:
    if len(left) < 2 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    value = float(np.corrcoef(left, right)[0, 1])
    return value if np.isfinite(value) else None
