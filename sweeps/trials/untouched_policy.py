"""The check that an untouched policy still scores as the kept reference says.

What a worker scores is compared with a reference that was computed earlier, maybe on another machine.
If the two do not start from the same numbers, because an earlier trial left something in the weights,
the files changed, or the device computes otherwise, every trial's margins are wrong by as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dpo_core.encoding.packing import Row, build_row, pack
from dpo_core.errors import ReferenceMismatch
from dpo_core.models.load import weights_fingerprint
from dpo_core.models.reusable import changed_tensors
from dpo_core.scoring.logprobs import score_rows, stack
from dpo_core.scoring.precision import scoring_precision
from dpo_core.scoring.reference_cache import margins, root_mean_square
from dpo_core.settings import FLOAT32
from sweeps.run_dir.prepared import Prepared

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dpo_core.settings import ModelSettings
    from dpo_core.training.trial_data import TrialData

CHECKED_PAIRS = 16
FLOAT32_NOISE = 1e-3
"""Root mean square of what float32 leaves of a margin on another device or in another row, nats."""
_MOST_NOISES = 3.0
_NAMED_TENSORS = 3


def check_untouched_policy(
    model: PreTrainedModel, data: TrialData, settings: ModelSettings, prepared: Prepared
) -> None:
    """Compare some select pairs under the untouched model with the kept reference.

    The rows are those of the reference pass, so that on the same device the bits are the same.

    Args:
        model: The untouched model.
        data: The select split and its reference.
        settings: How the model was loaded.
        prepared: The noise that is allowed, and the row length.

    Raises:
        ReferenceMismatch: The root mean square of the margins' difference is above three times the
            noise; the message names tensors that differ from freshly loaded ones.
    """
    if not prepared.score_dtype and settings.dtype != FLOAT32:
        return  # an earlier version prepared it, and did not measure the noise
    rows = _some_rows(data, prepared.row_tokens)
    with scoring_precision(model, settings, data.score_dtype):
        results = score_rows(model, rows, data.layout)
    indices = sorted(results)
    scored = stack(dict(enumerate(results[i] for i in indices)), len(indices)).numpy()
    kept = {name: column[indices] for name, column in data.select_reference.items()}
    difference = root_mean_square(margins(scored) - margins(kept))
    limit = _MOST_NOISES * max(prepared.margin_noise, FLOAT32_NOISE)
    if np.isfinite(difference) and difference <= limit:
        return
    raise ReferenceMismatch(
        f"{len(indices)} select pairs under the untouched model differ from the kept reference by "
        f"{difference:.3g} nats a margin (root mean square), where noise explains {limit:.3g}: "
        + _cause(model, settings, prepared)
    )


def _some_rows(data: TrialData, row_tokens: int) -> list[Row]:
    """Build the last rows of the split, which hold its shortest pairs, until there are enough pairs."""
    rows: list[Row] = []
    for members in reversed(pack(data.select, row_tokens)):
        rows.append(build_row([data.select[i] for i in members], members))
        if sum(row.pairs for row in rows) >= CHECKED_PAIRS:
            break
    return rows


def _cause(model: PreTrainedModel, settings: ModelSettings, prepared: Prepared) -> str:
    """Say what differs, and the way out, in one line."""
    if weights_fingerprint(settings) != prepared.weights_sha256:
        return (
            f"the files of {settings.path} have changed since the sweep was prepared; put the old "
            "ones back, or start a new sweep"
        )
    changed = changed_tensors(model, settings)
    if not changed:
        return (
            "no tensor differs from freshly loaded weights, so this machine computes otherwise than "
            "the one that prepared the sweep; run a sweep on one kind of device, with one version "
            "of torch and transformers"
        )
    named = [f"{name} (by {by:.3g})" for name, by in list(changed.items())[:_NAMED_TENSORS]]
    more = len(changed) - len(named)
    return (
        f"its weights are not those that are loaded from the files, in {', '.join(named)}"
        + (f" and {more} more" if more else "")
        + "; trials that this worker trained may have started from them, so start a new sweep with "
        "resources.trials_per_lane=1, which loads the model for each trial, and report this defect"
    )
