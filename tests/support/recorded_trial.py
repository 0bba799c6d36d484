"""The outcomes of a real trial that collapses while its accuracy stays: tests/data/recorded_trial.json.

SmolLM2-135M with LoRA on the pharmacy pairs at a learning rate of 5e-4, evaluated at four steps. By
step 30 most of its answers repeat one sentence, and still it ranks 37 of 38 pairs right.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dpo_core.evaluation.outcomes import Outcomes

_FILE = Path(__file__).parents[1] / "data" / "recorded_trial.json"


def recorded_outcomes() -> dict[int, Outcomes]:
    """Return the outcomes of the select split by step."""
    recorded = json.loads(_FILE.read_text())

    def column(values: list[float]) -> np.ndarray:
        return np.array(values)

    reference = column(recorded["ref_chosen_logp"]), column(recorded["ref_rejected_logp"])
    lengths = column(recorded["chosen_tokens"]), column(recorded["rejected_tokens"])
    return {
        int(step): Outcomes(
            tuple(recorded["ids"]),
            column(policy["chosen_logp"]),
            column(policy["rejected_logp"]),
            *reference,
            *lengths,
        )
        for step, policy in recorded["steps"].items()
    }
