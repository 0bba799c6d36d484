"""Types of the JSON objects that a run directory and its nights hold, for those who read them.

`audit.json` is written by `sweeps.prepare`, `selection.json` by `sweeps.finalize.selection_json`,
`answers.json` by `sweeps.finalize.sample_answers`, `night.json` and the pointers by `sweeps.nightly`.

Tested in tests/unit/sweeps/nightly/test_run_night.py and tests/unit/sweeps/test_reselect.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

Point = Mapping[str, str | int | float | bool | None]
"""A sampled value for each axis of the search space."""


class MessageJson(TypedDict, total=False):
    """One message of a chat."""

    role: str
    content: str


Content = str | Sequence[MessageJson]
"""A text as a data set gives it: plain, or as chat messages."""


class AnswerJson(TypedDict):
    """One generated answer; `ended` is False where it was cut off at the longest length."""

    text: str
    tokens: Sequence[int]
    ended: NotRequired[bool]


class PromptJson(TypedDict):
    """One held-out prompt that was answered."""

    id: NotRequired[str]
    group: NotRequired[str]
    prompt: Content


class AnswersJson(TypedDict):
    """`answers.json`; `by` has one answer to each prompt, by the name of the model that gave it."""

    max_new_tokens: NotRequired[int]
    incumbent: NotRequired[str | None]
    prompts: NotRequired[Sequence[PromptJson]]
    by: Mapping[str, Sequence[AnswerJson]]


class LeftOutJson(TypedDict):
    """Tensors of a checkpoint that its language model does without."""

    tensors: int
    first: Sequence[str]
    """The names of the first few."""


class ModelCheckJson(TypedDict):
    """The check of the base model before any trial."""

    seconds: Mapping[str, float]
    """By what was tried."""
    longest_pair_tokens: int
    left_out: Mapping[str, LeftOutJson]
    """By the part of the checkpoint."""
    too_large: NotRequired[str | None]
    """Why trials with the highest rank of the space will fail."""
    peak_memory_bytes: NotRequired[int]
    """The most memory that the process of the check has had; 0 where nobody counts it."""


class EffectJson(TypedDict):
    """The effect of a policy on the pairs of a split; see `sweeps.selection.effect`.

    Earlier versions wrote no `reference_loss`.
    """

    pairs: int
    moved: float
    median_margin: float
    mean_margin: float
    chosen_gain: float
    rejected_gain: float
    order_changed: float
    held_out_loss: float | None
    reference_loss: NotRequired[float | None]
    answers_differ: float | None


class VerdictJson(TypedDict):
    """The result on the final split; `difference` and `interval` are in shares of pairs.

    `threshold` is the margin in nats beyond which a pair counts, `effect` what the winner did to the
    final pairs, `confirmed` whether the winner is one of the points trained again, where some were.
    """

    word: str | None
    sentence: str
    against: str
    difference: float | None
    interval: Sequence[float] | None
    p_value: float | None
    threshold: NotRequired[float]
    effect: NotRequired[EffectJson | None]
    confirmed: NotRequired[bool | None]


class TrialCountsJson(TypedDict):
    """The number of ended trials; `failed` are those of the search and of the confirmation."""

    search: int
    confirmation: int
    failed: int


class StoredMarginsJson(TypedDict):
    """Mean margin on select of what was chosen and of what is stored of it, in nats; share lost."""

    dtype: str | None
    chosen: float
    stored: float
    lost: float


class WinnerJson(TypedDict):
    """The chosen checkpoint; `path` is null until it is exported, and `stored` is missing."""

    trial: str
    point: Point
    step: int
    seed: int
    path: str | None
    stored: NotRequired[StoredMarginsJson]


class ScoresJson(TypedDict):
    """Accuracy of one policy on one split: counts of pairs, shares in [0, 1].

    `interval` is null where the accuracy is the same for any pairs: the untouched model's by rewards.
    """

    objective: str
    correct: int
    ties: int
    total: int
    accuracy: float
    interval: Sequence[float] | None
    reward_accuracy: float
    token_reward_accuracy: float
    likelihood_accuracy: float
    length: Mapping[str, object]
    by: Mapping[str, object]
    health: Mapping[str, float]


class CheckJson(TypedDict):
    """One guardrail on one candidate; `passed` is null when its value is not known."""

    value: float | None
    limit: float
    passed: bool | None
    note: NotRequired[str]


class DifferenceJson(TypedDict):
    """A candidate's accuracy minus another policy's on the same pairs, in [-1, 1].

    `p_value` is two-sided; `p_holm` is corrected for the number of candidates.
    """

    difference: float
    interval: Sequence[float]
    p_value: float
    p_holm: float


class CandidateJson(TypedDict):
    """One evaluated checkpoint on the select split; gain and drift are in nats per token.

    It is eligible when none of its `violations` is above 0: it moved the model.
    """

    trial: str
    step: int
    seed: int
    point: Point
    accuracy: float
    counts: Mapping[str, int]
    interval: NotRequired[Sequence[float]]
    standard_error: float | None
    chosen_gain: float
    drift: float
    violations: Mapping[str, float]
    eligible: bool
    guardrails: Mapping[str, CheckJson]
    admissible: bool
    shortlisted: bool
    against: Mapping[str, DifferenceJson]


class TrialJson(TypedDict):
    """One trial of the search with its best checkpoint; nulls when it was never evaluated."""

    trial: str
    status: str
    reason: str | None
    detail: str | None
    point: Point
    loss_beta: float | None
    step: int | None
    accuracy: float | None
    counts: Mapping[str, int] | None
    drift_chosen: float | None
    seconds: float


class MissingTrialJson(TypedDict):
    """A trial with a new seed that ended before the step at which its point is compared."""

    trial: str
    reason: str | None
    detail: str | None


class ConfirmationJson(TypedDict):
    """One point of the search, trained again with new seeds."""

    trial: str
    step: int
    point: Point
    trials: Sequence[str]
    seeds: Sequence[int]
    accuracies: Sequence[float]
    counted: NotRequired[Sequence[bool]]
    """For each seed, whether its checkpoint can win and is in the mean."""
    mean: float | None
    spread: float | None
    search_score: float
    shrinkage: float | None
    missing: Sequence[MissingTrialJson]


class SplitScoresJson(TypedDict):
    """A policy's scores on the select split and, once it was opened, on the final split."""

    select: ScoresJson
    final: NotRequired[ScoresJson]


class RunnerUpJson(SplitScoresJson):
    """The candidate that the same rule selects among the trials other than the winner's."""

    trial: str
    step: int


class IncumbentJson(SplitScoresJson):
    """The incumbent that the winner was compared with."""

    name: str
    path: str


class GuardrailJson(TypedDict):
    """A guardrail of the config; `action` is what happens to a candidate over the limit."""

    limit: float
    action: str


class ConfigChangeJson(TypedDict):
    """One key of the config that changed when the sweep went on; `when` is UTC, ISO 8601."""

    when: str
    key: str
    old: object
    new: object


class OpeningJson(TypedDict):
    """One opening of the final split; `when` is UTC, ISO 8601.

    Earlier versions wrote the first three keys alone.
    """

    when: str
    why: str
    forced: bool
    against: NotRequired[str]
    number: NotRequired[int]
    """How many openings the storage's register had of these prompts, with this one."""
    declared: NotRequired[int]
    """For how many openings they were declared."""


class SelectionJson(TypedDict):
    """`selection.json`. Without a winner, it has no scores of splits and of the reference."""

    sweep: str
    folder: str
    base_model: str
    objective: str
    verdict: VerdictJson
    winner: WinnerJson | None
    incumbent: IncumbentJson | None
    select: NotRequired[ScoresJson]
    final: NotRequired[ScoresJson]
    reference: NotRequired[SplitScoresJson]
    runner_up: NotRequired[RunnerUpJson | None]
    guardrails: Mapping[str, GuardrailJson]
    candidates: Sequence[CandidateJson]
    pareto: NotRequired[Sequence[Mapping[str, object]]]
    confirmation: Sequence[ConfirmationJson]
    final_opened: NotRequired[Sequence[OpeningJson]]
    trials: Sequence[TrialJson]
    trial_counts: NotRequired[TrialCountsJson]
    trial_seconds: NotRequired[float]
    """How long all trials held workers, those of the confirmation among them."""


class CleanedJson(TypedDict):
    """cleaned.json: what `dpo-sweeps clean` has removed."""

    when: str
    removed: Sequence[str]
    """Names of folders of the run directory."""
    ended: bool
    """Whether the sweep had ended before."""


class CodeJson(TypedDict):
    """The version of the package, and the commit where it is known."""

    version: str
    commit: str | None


class PointerJson(TypedDict):
    """`incumbent.json`: the model that a night's winner must beat."""

    night: str
    sweep: str
    trial: str
    step: int
    seed: int
    point: Point
    path: str
    since: str


class NightJson(TypedDict):
    """`night.json`: what a night started from and, once it has ended, how."""

    night: str
    sweep: str
    started: str
    code: CodeJson
    workers: int
    gpus_per_worker: float
    incumbent: PointerJson | None
    control: str | None
    ended: NotRequired[str]
    data_sha256: NotRequired[str]
    final_sha256: NotRequired[str]
    """SHA-256 of the encoded final pairs; empty where an earlier version prepared them."""
    weights_sha256: NotRequired[str]
    warm_started: NotRequired[int]
    verdict: NotRequired[str | None]
    promoted: NotRequired[bool]
    pointed: NotRequired[bool]
    """Whether the pointers say what this file says; without the key they do."""
    told: NotRequired[bool]


class NightRow(TypedDict):
    """One night as tables, chats and the report show it; see `sweeps.nightly.trend.night_row`."""

    night: str
    sweep: str
    verdict: str | None
    against: str
    difference: float | None
    interval: Sequence[float] | None
    final: float | None
    final_interval: Sequence[float] | None
    promoted: bool
    incumbent_final: float | None
    reference_final: float | None
    control: float | None
    trials: int
    finished: int
    stopped: int
    failed: int
    failures: Mapping[str, int]
    warm_started: int
    seconds: float
    worker_hours: float
    gpu_hours: float
    data_sha256: str
    final_sha256: NotRequired[str | None]
    commit: str | None


class TrendRow(NightRow):
    """A night's row with what changed since the night before, and the incumbent after it."""

    final_change: float | None
    data_changed: bool | None
    code_changed: bool | None
    incumbent_after: str | None
    incumbent_accuracy: NotRequired[float | None]
    """Mean of its accuracies on final in the nights after its promotion; null before there is one."""
    incumbent_nights: NotRequired[int]
    """How many nights these are."""
    incumbent_pairs_changed: NotRequired[bool]
    """Whether the pairs of one of them are others than those on which it was promoted."""


class NoPairJson(TypedDict):
    """A source's number of rows, and how often what made no pair, and where first, by reason."""

    rows: int
    counts: Mapping[str, int]
    places: Mapping[str, Sequence[str]]


class ScoreCountsJson(TypedDict):
    """Rows with scores of both answers, and in how many these are equal or against the preference."""

    rows: int
    equal: int
    against: int
    equal_places: Sequence[str]
    against_places: Sequence[str]


class ColumnUseJson(TypedDict):
    """The layout by which a source was read, and the use of its columns."""

    layout: str
    sentence: str
    used: Mapping[str, str]
    """What each used column is, by its path."""
    ignored: Sequence[str]


class ReadingReport(TypedDict):
    """Facts about reading the data: Krippendorff's α by source, and which rows are in no split."""

    annotator_agreement: Mapping[str, float]
    rows_skipped: Sequence[str]
    """Why each of these rows makes no pair."""
    rows_left_out: Sequence[str]
    """Where each pair stands whose prompt is nearly that of two splits."""
    no_pair: NotRequired[Mapping[str, NoPairJson]]
    """What made no pair, by source."""
    row_scores: NotRequired[Mapping[str, Mapping[str, ScoreCountsJson]]]
    """What scores in rows of pairs say of the preference, by source and columns."""
    columns: NotRequired[Mapping[str, ColumnUseJson]]
    """What became of the columns, by source."""


class FindingJson(TypedDict):
    """One finding; `number` is a share in [0, 1] when `is_share`, else a count or a value."""

    code: str
    severity: str
    number: float
    is_share: bool
    message: str
    remedy: str
    places: Sequence[str]


class CoverageJson(TypedDict):
    """Counts of weights; the body is what lies between embeddings and head."""

    body: int
    adapted: int
    trained: int
    folded: int
    left_out: Mapping[str, int]


class HistogramJson(TypedDict):
    """Counts between evenly spaced edges; one edge more than counts."""

    counts: Sequence[int]
    edges: Sequence[float]


class AuditJson(ReadingReport):
    """audit.json. Lengths are in tokens."""

    pairs: Mapping[str, int]
    prompts: int
    lengths: Mapping[str, Mapping[str, float]]
    histogram: Mapping[str, HistogramJson]
    findings: Sequence[FindingJson]
