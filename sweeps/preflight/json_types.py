"""Types of what `dpo-sweeps plan --json` and `dpo-sweeps preview --json` print.

Tested in tests/unit/sweeps/preflight/test_plan.py and test_preview.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from dpo_core.preferences import Message
from sweeps.run_dir.json_types import ColumnUseJson, CoverageJson, FindingJson


class ConfirmationPlan(TypedDict):
    """The confirmation: the best points, trained again with new seeds, make so many trials."""

    points: int
    seeds: int
    trials: int


class TokensPlan(TypedDict):
    """Tokens that are run through the model."""

    reference_once: int
    trained_per_trial: int
    evaluated_per_trial: int
    sweep: int


class ScoringPlan(TypedDict):
    """The dtype in which held-out pairs are scored, and the share of the sweep's compute in each."""

    dtype: str
    share_by_dtype: Mapping[str, float]


class ResourcesPlan(TypedDict):
    """Resources of the cluster that one trial takes."""

    workers: int
    cpus: float
    gpus: float


class SensitivityPlan(TypedDict):
    """Standard error and detectable gains on one split, in shares of pairs.

    A gain is over the `reference` or an `incumbent`, and null where no possible gain would be shown;
    `fewest_pairs` is how many pairs it takes to show the largest possible one. Both count with the
    `openings` that the split is declared for.
    """

    openings: int
    pairs: int
    groups: int
    design_effect: float
    standard_error: float
    detectable_gain: Mapping[str, float | None]
    fewest_pairs: Mapping[str, int]


class Plan(TypedDict):
    """The plan as `dpo-sweeps plan --json` prints it; splits are `train`, `select` and `final`."""

    name: str
    trials: int
    shortage: str | None
    """Reason why the search ends before `search.trials`."""
    confirmation: ConfirmationPlan
    steps_per_trial: int
    evaluation_steps: Sequence[int]
    pairs: Mapping[str, int]
    pairs_over_limit: Mapping[str, int]
    """Pairs that are in train because select or final is full, by that split."""
    pairs_by_source: Mapping[str, int]
    golden_waiting: int
    findings: Sequence[FindingJson]
    annotator_agreement: Mapping[str, float]
    rows_skipped: Sequence[str]
    no_pair: Mapping[str, Mapping[str, int]]
    """How often what made no pair, by source and reason."""
    columns: Mapping[str, ColumnUseJson]
    """What became of the columns, by source."""
    pairs_cut: Mapping[str, int]
    cut_by_kind: Mapping[str, Mapping[str, int]]
    """Pairs of each split that lose oldest turns, the start of the last turn, and ends of answers."""
    pairs_merged: Mapping[str, int]
    """Pairs of each split whose prompts end otherwise once an answer follows."""
    pairs_indistinct: Mapping[str, int]
    mean_response_tokens: float
    beta_per_token_factor: float
    tokens: TokensPlan
    scoring: ScoringPlan
    parameters: Mapping[str, int]
    adapter_coverage: CoverageJson | None
    """How much of the model the adapter changes; None without one."""
    memory_bytes_per_worker: int
    memory_bytes_not_shared: int
    """The same for a model whose layers cannot share prompts."""
    sensitivity: Mapping[str, SensitivityPlan]
    resources_per_trial: ResourcesPlan


class PairJson(TypedDict):
    """A pair in its canonical form: messages, or strings where texts stay texts.

    `rejected` is empty where the run generates the model's own answer.
    """

    prompt: str | list[Message]
    chosen: str | list[Message]
    rejected: str | list[Message]
    tools: NotRequired[Sequence[Mapping[str, object]]]
    chat_template_kwargs: NotRequired[Mapping[str, object]]


class PreviewJson(TypedDict, total=False):
    """One row as `dpo-sweeps preview --json` prints it, on a line of its own.

    `text` and `tokens` have the keys `prompt`, `chosen` and `rejected`. A row that makes no
    pair has `error` alone; a pair that the chat template refuses has it in place of text, tokens and
    findings.
    """

    location: str
    pair: PairJson
    text: Mapping[str, str]
    tokens: Mapping[str, int]
    findings: Sequence[FindingJson]
    error: str
