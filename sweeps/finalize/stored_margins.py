"""The share of the winner's margins on select that storing it loses, read back from the files.

A margin h = Δ_w − Δ_l says how far the winner moved a pair from the reference, in nats. All are scored
in float32: what is lost is lost by the numbers that are stored, not by the scoring.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.evaluation.outcomes import TIE_NATS, Floats, build_outcomes
from dpo_core.scoring.reference_cache import Columns
from dpo_core.settings import FLOAT32, ModelSettings
from sweeps.finalize.score_policy import score_columns
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.outcome_files import read_outcomes_of
from sweeps.run_dir.paths import CheckpointKey, SweepPaths
from sweeps.run_dir.prepared import Prepared, read_encoded, read_reference

LARGEST_LOSS = 0.02
"""The share of the margins that storing may lose before another dtype is taken, or a warning given."""


def share_lost(chosen: Floats, stored: Floats) -> float:
    """Compute the mean of |h_stored − h_chosen| over the mean of |h_chosen|.

    Differences of one pair cannot cancel those of another, as they do in a change of means. The
    mean of |h|, weighted by its sign under the winner, shrinks by no more than this share.

    Args:
        chosen: Margins of the winner as it was chosen, in nats, (pairs,).
        stored: Margins of what is stored, in nats, (pairs,).

    Returns:
        A share, 0 where nothing is lost; 0 too where the difference is float32's noise.
    """
    difference = float(np.abs(stored - chosen).mean())
    if difference <= TIE_NATS:
        return 0.0
    return difference / max(float(np.abs(chosen).mean()), TIE_NATS)


class SelectMargins:
    """The margins of the winner on select, and of what is stored of it; float32, in nats."""

    def __init__(self, paths: SweepPaths, checkpoint: CheckpointKey, source: Path) -> None:
        """Score the winner, unless its evaluation did so in float32.

        Args:
            paths: The run directory.
            checkpoint: Trial and step of the winner.
            source: A local folder with the checkpoint.
        """
        self.settings, self.prepared = read_config(paths).model, Prepared.read(paths)
        self.pairs = read_encoded(paths, "select")
        if (self.prepared.score_dtype or self.settings.dtype) == FLOAT32:
            self.reference = read_reference(paths, self.prepared, "select", self.pairs)
            outcomes = read_outcomes_of(paths, paths.outcome(*checkpoint))
            self.chosen = outcomes.margins("reward_accuracy")
        else:
            policy, self.reference = _policy_and_reference(
                self.settings, source, self.pairs, self.prepared
            )
            self.chosen = self._margins(policy)

    def of_model(self, folder: Path) -> Floats:
        """Read a whole model back from its files and score it; nats, (pairs,)."""
        from dpo_core.models.load import load_model, whole_model
        from dpo_core.scoring.scorer import best_device

        settings = whole_model(self.settings, folder)
        model = load_model(settings, best_device())
        return self._margins(score_columns(model, settings, self.pairs, self.prepared, FLOAT32))

    def _margins(self, policy: Columns) -> Floats:
        return build_outcomes(self.pairs, policy, self.reference).margins("reward_accuracy")


def _policy_and_reference(
    settings: ModelSettings, checkpoint: Path, pairs: Sequence[EncodedPair], prepared: Prepared
) -> tuple[Columns, Columns]:
    """Score pairs in float32 with what was trained, and with what it was trained from."""
    from dpo_core.models.load import load_model, load_trained
    from dpo_core.scoring.scorer import best_device

    model = load_trained(settings, checkpoint, best_device())
    policy = score_columns(model, settings, pairs, prepared, FLOAT32)
    if settings.adapter is None:
        model = load_model(settings, best_device())
        return policy, score_columns(model, settings, pairs, prepared, FLOAT32)
    with model.disable_adapter():
        return policy, score_columns(model, settings, pairs, prepared, FLOAT32)
