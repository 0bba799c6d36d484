"""The JSON files of a run directory, typed as the report reads them.

The types describe what this version writes. `NotRequired` and `total=False` mark what may be
missing: keys that an older version did not write, and everything of a file that does not exist,
which is read as an empty one. Tested in tests/unit/sweeps/report/test_report_data.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

Point = Mapping[str, object]
"""Values of the hyperparameters that were sampled for a trial, by name."""
Labels = Mapping[str, Mapping[str, str | None]]
"""`source` and `category` of each pair, by the pair's id."""


class Message(TypedDict, total=False):
    """One message of a chat."""

    role: str
    content: str


Content = str | Sequence[Message]
"""A text as a data set gives it: plain, or as chat messages."""


class Counts(TypedDict):
    """Pairs that a policy ranks correctly, those that tie, and all of them."""

    correct: int
    ties: int
    total: int


class Health(TypedDict, total=False):
    """Drift in nats per token; `displaced` is a share of pairs in [0, 1]."""

    drift_chosen: float
    drift_rejected: float
    displaced: float
    mean_margin: float


class SplitScores(Counts):
    """One policy's scores on one split; accuracies and their interval in [0, 1]."""

    accuracy: float
    interval: NotRequired[Sequence[float]]
    reward_accuracy: NotRequired[float]
    token_reward_accuracy: NotRequired[float]
    likelihood_accuracy: NotRequired[float]
    health: NotRequired[Health]


class ScoresBySplit(TypedDict, total=False):
    """One policy's scores on the held-out splits."""

    select: SplitScores
    final: SplitScores


class VerdictRow(TypedDict, total=False):
    """The result on the final split; `difference` and `interval` are accuracies in [-1, 1]."""

    word: str
    sentence: str
    against: str
    difference: float | None
    interval: Sequence[float] | None
    p_value: float | None


class WinnerRow(TypedDict):
    """The checkpoint that was selected."""

    trial: str
    step: int


class GuardrailLimit(TypedDict, total=False):
    """A guardrail as the config sets it."""

    limit: float
    action: str


class GuardrailCheck(TypedDict, total=False):
    """One guardrail of one candidate; `passed` is None where the value is not known."""

    value: float | None
    limit: float
    passed: bool | None


class DifferenceRow(TypedDict):
    """A candidate's accuracy minus another policy's, in [-1, 1], with its corrected p-value."""

    difference: float
    interval: Sequence[float]
    p_holm: float


class CandidateRow(TypedDict):
    """One evaluated checkpoint in selection.json."""

    trial: str
    step: int
    accuracy: float
    standard_error: float | None
    drift: NotRequired[float]
    guardrails: NotRequired[Mapping[str, GuardrailCheck]]
    admissible: NotRequired[bool]
    shortlisted: bool
    against: NotRequired[Mapping[str, DifferenceRow]]


class MissingTrial(TypedDict):
    """A trial with a new seed that ended before the step at which its point is compared."""

    trial: str
    reason: str | None
    detail: str | None


class ConfirmationRow(TypedDict):
    """A point of the search and the accuracies that it reached with new seeds."""

    trial: str
    point: Point
    seeds: Sequence[int]
    accuracies: Sequence[float]
    search_score: float
    mean: NotRequired[float | None]
    spread: NotRequired[float | None]
    shrinkage: NotRequired[float | None]
    missing: NotRequired[Sequence[MissingTrial]]


class OpeningRow(TypedDict, total=False):
    """One use of the final split; `when` is UTC, ISO 8601."""

    when: str
    why: str
    forced: bool


class TrialRow(TypedDict):
    """One trial of the leaderboard with its best checkpoint; None where it was never evaluated."""

    trial: str
    status: str
    reason: str | None
    detail: str | None
    point: Point
    step: int | None
    accuracy: float | None
    counts: Counts | None
    drift_chosen: float | None
    seconds: float


class SelectionFile(ScoresBySplit, total=False):
    """selection.json; `select` and `final` are the winner's scores."""

    verdict: VerdictRow | None
    winner: WinnerRow | None
    runner_up: ScoresBySplit | None
    incumbent: ScoresBySplit | None
    reference: ScoresBySplit | None
    guardrails: Mapping[str, GuardrailLimit]
    candidates: Sequence[CandidateRow]
    confirmation: Sequence[ConfirmationRow]
    final_opened: Sequence[OpeningRow]
    trials: Sequence[TrialRow]


class FindingRow(TypedDict, total=False):
    """One finding of the data audit; `number` is a share in [0, 1] where `is_share` says so."""

    severity: str
    number: float
    is_share: bool
    message: str
    remedy: str
    places: Sequence[str]


class PreparedFile(TypedDict, total=False):
    """prepared.json; `reports` has the counts of each split by their names."""

    data_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    reports: Mapping[str, Mapping[str, object]]
    findings: Sequence[FindingRow]


class Histogram(TypedDict):
    """`counts` between neighbouring `edges`, of which there is one more."""

    counts: Sequence[int]
    edges: Sequence[float]


class AuditFile(TypedDict, total=False):
    """audit.json; the agreement is Krippendorff's α by source, the histograms count tokens."""

    annotator_agreement: Mapping[str, float]
    histogram: Mapping[str, Histogram]
    findings: Sequence[FindingRow]


class AnswerRow(TypedDict):
    """One generated answer; `ended` is False where it was cut off at the longest length."""

    text: str
    tokens: Sequence[int]
    ended: NotRequired[bool]


class PromptRow(TypedDict):
    """One held-out prompt that was answered."""

    prompt: Content


class AnswersFile(TypedDict):
    """answers.json; `by` has one answer to each prompt, by the name of the model that gave it."""

    by: Mapping[str, Sequence[AnswerRow]]
    prompts: NotRequired[Sequence[PromptRow]]


class PairRow(TypedDict):
    """One pair of splits/select.jsonl."""

    id: str
    prompt: Content
    chosen: Content
    rejected: Content


class GpuRow(TypedDict):
    """One GPU of a node."""

    name: str


class NodeFile(TypedDict):
    """One file of nodes/: the hardware of a node that trained."""

    host: str
    cpu: str
    cores: int
    memory_bytes: int
    gpus: Sequence[GpuRow]


class DrawnTrial(TypedDict):
    """One file of trials/: a point, written when it is drawn."""

    trial: str
    point: Point
    seed: NotRequired[int]


class NightRow(TypedDict, total=False):
    """One night of trend.json; accuracies in [0, 1], `control` is measured on select."""

    night: str
    sweep: str
    verdict: str
    promoted: bool
    difference: float | None
    final: float | None
    final_interval: Sequence[float] | None
    incumbent_final: float | None
    reference_final: float | None
    control: float | None
    trials: int
    finished: int
    stopped: int
    failed: int
    worker_hours: float
    gpu_hours: float
    data_changed: bool | None
    code_changed: bool | None
