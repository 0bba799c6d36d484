"""The precision in which held-out pairs are scored, and what float32 costs. Pure.

A margin in half precision is off by half a nat and more, so a policy that moved little cannot be told
from noise. Float32 can, but its products cost up to ten times as much on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpo_core.settings import FLOAT32
from sweeps.config.schema import SweepConfig

WORTHWHILE_SHARE = 0.2
"""The largest share of a sweep's compute that scoring in float32 may take by itself."""
_FLOAT32_COST = {"gpu": 10.0, "cpu": 2.0}
"""Time of a pass in float32 over one in half precision: the most on a GPU, 1.75 on an EPYC."""

Reports = Mapping[str, Mapping[str, Any]]
"""The counts of each split, as `EncodingReport.as_dict` gives them."""


@dataclass(frozen=True)
class SweepTokens:
    """The tokens that a sweep runs through the model; `in_split` counts each split once."""

    trials: int
    trained_per_trial: float
    evaluated_per_trial: int
    in_split: Mapping[str, int]

    @property
    def sweep(self) -> int:
        """Return the tokens of all trials, without the reference pass."""
        return int(self.trials * (self.trained_per_trial + self.evaluated_per_trial))


def sweep_tokens(config: SweepConfig, reports: Reports) -> SweepTokens:
    """Count the tokens of search and confirmation, as if every trial were trained to its end."""
    in_split = {
        split: int(sum(report[f"{part}_tokens"] for part in ("prompt", "chosen", "rejected")))
        for split, report in reports.items()
    }
    train = reports["train"]
    steps = config.training.steps(train["pairs"] - train["indistinct"])
    pairs = steps * config.training.batch_pairs
    evaluations = len(config.training.evaluation_steps(steps))
    return SweepTokens(
        config.search.trials + config.selection.confirm.trials(config.search.trials),
        pairs * in_split["train"] / max(1, train["pairs"]),
        evaluations * in_split["select"],
        in_split,
    )


def scoring_share(config: SweepConfig, tokens: SweepTokens, dtype: str) -> float:
    """Return the share of a sweep's compute that goes into scoring held-out pairs.

    Compute is counted in forward passes of a token. Training costs two with LoRA, three without, one
    more with activation checkpointing. Held-out pairs are scored at each evaluation, once under the
    reference, and those of final once under the winner.

    Args:
        config: The sweep.
        tokens: Its tokens.
        dtype: The dtype of scoring: float32 or that of the model.

    Returns:
        A share in [0, 1].
    """
    passes = 3 - (config.model.adapter is not None) + bool(config.training.gradient_checkpointing)
    select, final = tokens.in_split["select"], tokens.in_split["final"]
    training = tokens.trials * tokens.trained_per_trial * passes + tokens.in_split["train"]
    scoring = float(tokens.trials * tokens.evaluated_per_trial + select + 2 * final)
    if dtype != config.model.dtype:
        scoring *= _FLOAT32_COST["gpu" if config.resources.gpus_per_worker else "cpu"]
    return scoring / max(1.0, training + scoring)


def scoring_shares(config: SweepConfig, tokens: SweepTokens) -> dict[str, float]:
    """Return the share of the compute by dtype: that of the model, and float32."""
    dtypes = dict.fromkeys((config.model.dtype, FLOAT32))
    return {dtype: scoring_share(config, tokens, dtype) for dtype in dtypes}


def choose_score_dtype(config: SweepConfig, tokens: SweepTokens) -> str:
    """Return the dtype in which held-out pairs are scored, as `selection.score_dtype` wants it."""
    wanted = config.selection.score_dtype
    is_cheap = scoring_share(config, tokens, FLOAT32) < WORTHWHILE_SHARE
    if wanted == FLOAT32 or (wanted == "auto" and is_cheap):
        return FLOAT32
    return config.model.dtype
