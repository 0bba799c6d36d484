"""Trial records and outcomes of made-up pairs, for tests of the selection."""

from __future__ import annotations

import numpy as np

from dpo_core.evaluation.outcomes import OBJECTIVES, Outcomes
from sweeps.run_dir.ledger import EvaluationRecord, TrialRecord

REWARD, TOKEN, LIKELIHOOD = OBJECTIVES


def evaluation(
    step: int, correct: int, token_correct: int = 5, ties: int = 0, drift: float | None = None
) -> EvaluationRecord:
    """Return an evaluation on 20 pairs; without `drift` it grows by 0.01 nats per token a step."""
    counts = {
        REWARD: {"correct": correct, "ties": ties, "total": 20},
        TOKEN: {"correct": token_correct, "ties": 0, "total": 20},
        LIKELIHOOD: {"correct": 20 - correct, "ties": 0, "total": 20},
    }
    moved = 0.01 * step if drift is None else drift
    return EvaluationRecord(step, 0.6, counts, {}, {"drift_chosen": -moved, "drift_rejected": 0.0})


def trial(name: str, *evaluations: EvaluationRecord, **changes) -> TrialRecord:
    fields = {"status": "finished", "seed": 0, "seconds": 2.5, **changes}
    return TrialRecord(name, {"beta": 0.1}, evaluations=evaluations, **fields)


def outcomes() -> Outcomes:
    rows = [
        #  π_w   π_l  ref_w ref_l |w| |l|   Δ_w Δ_l  margin  per token          π_w − π_l
        (-4, -9, -6, -8, 4, 2),  #           2  −1    3      .5 + .5 = 1         5
        (-9, -4, -12, -6, 10, 2),  #         3   2    1      .3 − 1 = −.7       −5
        (-6, -8, -5, -6, 3, 3),  #          −1  −2    1      −1/3 + 2/3 = 1/3    2
        (-7, -7, -6, -6, 2, 4),  #          −1  −1    0      −.5 + .25 = −.25    0
        (-8, -3, -4, -3, 1, 5),  #          −4   0   −4      −4                 −5
    ]
    columns = list(zip(*rows, strict=True))
    floats = [np.array(c, dtype=np.float64) for c in columns[:4]]
    ints = [np.array(c, dtype=np.int64) for c in columns[4:]]
    return Outcomes(tuple("abcde"), *floats, *ints)
