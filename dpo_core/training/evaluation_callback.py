"""The callback that evaluates a trial at its scheduled steps.

`on_evaluation` is where a sweep learns what a trial is worth; nothing here knows of Ray.

Tested in tests/unit/dpo_core/training/test_trainer.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dpo_core.evaluation.outcomes import Outcomes
from dpo_core.training import checkpoints
from dpo_core.training.ranks import mean_over_ranks

if TYPE_CHECKING:
    from dpo_core.training.trainer import SharedPromptDPOTrainer


@dataclass(frozen=True)
class Evaluation:
    """One held-out evaluation. Rank 0 may call `save(folder)` to write the checkpoint."""

    step: int  # the optimizer step after which it was made, from 1
    last: bool  # whether training ends with that step
    loss: float  # mean training loss since the last evaluation, nats
    seconds: float  # since the start of the training loop, this evaluation included
    outcomes: Outcomes
    save: Callable[[Path], None]


OnEvaluation = Callable[[Evaluation], None]
OnStep = Callable[[int, float], None]  # (step, this rank's training loss in nats)


class EvaluationCallback(TrainerCallback):  # type: ignore[misc]
    """A callback that scores the select split at the scheduled steps and calls `on_evaluation`."""

    def __init__(
        self, trainer: SharedPromptDPOTrainer, on_evaluation: OnEvaluation, on_step: OnStep | None
    ) -> None:
        self.trainer, self.on_evaluation, self.on_step = trainer, on_evaluation, on_step
        self.start = time.monotonic()

    def on_train_begin(self, *_: object, **__: object) -> None:
        """Start the clock."""
        self.start = time.monotonic()

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: object
    ) -> None:
        """Report the step, and evaluate if that is scheduled after it.

        Args:
            _args: TRL's config, which is not used.
            state: The trainer's state, with the step just made.
            _control: Transformers' flags, which stay as they are.
            _: What else Transformers passes.
        """
        trainer = self.trainer
        if self.on_step is not None:
            self.on_step(state.global_step, trainer.step_losses[-1])
        if state.global_step not in trainer.evaluation_steps:
            return
        loss = mean_over_ranks(float(np.mean(trainer.step_losses)))
        trainer.step_losses.clear()
        outcomes = trainer.evaluate_select()
        self.on_evaluation(
            Evaluation(
                step=state.global_step,
                last=state.global_step == state.max_steps,
                loss=loss,
                seconds=time.monotonic() - self.start,
                outcomes=outcomes,
                save=lambda folder: checkpoints.save(trainer, folder),
            )
        )
