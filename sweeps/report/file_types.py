"""Types of the JSON files of a run directory that the report alone reads.

`sweeps.run_dir.json_types` has those that others read too. With `total=False`, any key may be
missing: a file that does not exist is read as an empty object.

Tested in tests/unit/sweeps/report/test_report_data.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from sweeps.run_dir.json_types import (
    ColumnUseJson,
    Content,
    CoverageJson,
    FindingJson,
    HistogramJson,
    Point,
)

Labels = Mapping[str, Mapping[str, str | None]]
"""`source` and `category` of each pair, by the pair's id."""


class PreparedJson(TypedDict, total=False):
    """prepared.json; `reports` has the counts of each split by their names."""

    data_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    reports: Mapping[str, Mapping[str, object]]
    findings: Sequence[FindingJson]
    score_dtype: str
    margin_noise: float
    model_noise: float
    scoring_shares: Mapping[str, float]
    adapter_coverage: CoverageJson | None


class AuditJson(TypedDict, total=False):
    """audit.json; the agreement is Krippendorff's α by source, the histograms count tokens."""

    annotator_agreement: Mapping[str, float]
    columns: Mapping[str, ColumnUseJson]
    """What became of the columns, by source."""
    histogram: Mapping[str, HistogramJson]
    findings: Sequence[FindingJson]


class PairJson(TypedDict):
    """One pair of splits/select.jsonl."""

    id: str
    prompt: Content
    chosen: Content
    rejected: Content


class GpuJson(TypedDict):
    """One GPU of a node."""

    name: str


class NodeJson(TypedDict):
    """One file of nodes/: the hardware of a node that trained."""

    host: str
    cpu: str
    cores: int
    memory_bytes: int
    gpus: Sequence[GpuJson]


class DrawnTrialJson(TypedDict):
    """One file of trials/: a point, written when it is drawn."""

    trial: str
    point: Point
    seed: NotRequired[int]
