"""Scores of a split under a policy that is loaded already: an exported model, or a checkpoint.

Tested in tests/unit/sweeps/finalize/test_export.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.evaluation.outcomes import Outcomes, build_outcomes
from dpo_core.scoring.reference_cache import Columns
from dpo_core.settings import ModelSettings
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared, read_encoded, read_reference

if TYPE_CHECKING:
    from dpo_core.models.load import CausalModel


def score_policy(
    paths: SweepPaths, policy: CausalModel, settings: ModelSettings, split: str
) -> Outcomes:
    """Score a split in the precision in which the sweep scores held-out pairs.

    Args:
        paths: The run directory, with the reference's scores.
        policy: A model on its device.
        settings: How it was loaded.
        split: `select` or `final`.

    Returns:
        Outcomes of every pair, against the sweep's reference.
    """
    prepared, pairs = Prepared.read(paths), read_encoded(paths, split)
    columns = score_columns(policy, settings, pairs, prepared, prepared.score_dtype)
    return build_outcomes(pairs, columns, read_reference(paths, prepared, split, pairs))


def score_columns(
    policy: CausalModel,
    settings: ModelSettings,
    pairs: Sequence[EncodedPair],
    prepared: Prepared,
    dtype: str,
) -> Columns:
    """Score pairs as the sweep's rows are built.

    Args:
        policy: A model on its device.
        settings: How it was loaded.
        pairs: What is scored.
        prepared: The length of the rows, and whether they share prompts.
        dtype: "float32", or that of the settings.

    Returns:
        Sums in nats and lengths in tokens, (pairs,) each.
    """
    from dpo_core.scoring.logprobs import score_pairs
    from dpo_core.scoring.precision import scoring_precision

    with scoring_precision(policy, settings, dtype):
        return score_pairs(policy, pairs, prepared.row_tokens, prepared.layout).numpy()
