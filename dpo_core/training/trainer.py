"""One trial in one process group: TRL's DPOTrainer, fed with packed rows and a kept reference.

The only file that imports TRL. What the subclass changes, and why:
  - data arrives encoded, in the sweep's order; TRL would tokenize and truncate again;
  - the reference is a table; TRL would keep a second model or recompute per trial;
  - a batch is run row by row, prompts shared, head on answers only; gradients are accumulated.
Optimizer, schedule, clipping, precision and distribution stay TRL's and Transformers' own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dpo_core.errors import SettingsError

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import numpy as np
import torch
import torch.distributed as dist
import trl.trainer.dpo_trainer as trl_module
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import DPOConfig, DPOTrainer

from dpo_core.encoding.packing import build_row, pack, pack_rows
from dpo_core.encoding.token_table import EncodedPair, TokenTable, encoding_report
from dpo_core.errors import TrialFailed
from dpo_core.evaluation.outcomes import TIE_NATS, Outcomes
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.models.load import autocast, lora_config
from dpo_core.ops.fused_lora import fuse_lora
from dpo_core.scoring.logprobs import PairLogps, row_logps, score_rows, stack
from dpo_core.scoring.reference_cache import COLUMNS, Columns
from dpo_core.settings import DEFAULT_ROW_TOKENS, ModelSettings, TrainingSettings
from dpo_core.training import checkpoints
from dpo_core.training.batch_order import batch_order, weighted_order
from dpo_core.training.loss import dpo_losses, preference_score


@dataclass(frozen=True)
class TrialData:
    """Encoded pairs of the two splits a trial may see, and the reference's columns for each."""

    train: Sequence[EncodedPair]
    select: Sequence[EncodedPair]
    train_reference: Columns
    select_reference: Columns
    shared: bool = True  # prompts are computed once a pair; see `sharing`
    weights: Mapping[str, float] = field(default_factory=dict)  # of sources, in the batches


@dataclass(frozen=True)
class Evaluation:
    """One held-out evaluation. Rank 0 may call `save(folder)` to write the checkpoint."""

    step: int
    last: bool
    loss: float  # mean training loss since the last evaluation, nats
    seconds: float  # since the training loop began, this evaluation included
    outcomes: Outcomes
    save: Callable[[Path], None]


OnEvaluation = Callable[[Evaluation], None]
OnStep = Callable[[int, float], None]


def train(
    model: Any,
    tokenizer: Any,
    data: TrialData,
    point: DPOHyperparams,
    *,
    model_settings: ModelSettings,
    training: TrainingSettings,
    seed: int,
    workdir: Path,
    on_evaluation: OnEvaluation,
    on_step: OnStep | None = None,
    resume_from: Path | None = None,
) -> Any:
    """Train `model` (the untouched base) on one point; returns the trained model.

    Every rank calls this; `on_evaluation` runs on every rank after each scheduled evaluation.
    Raises TrialFailed("nan", …) when the loss or a held-out log-probability is no number.
    """
    set_seed(seed)
    trainer = SharedPromptDPOTrainer(
        model, tokenizer, data, point, model_settings, training, seed, workdir
    )
    trainer.add_callback(_Evaluations(trainer, on_evaluation, on_step))
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    return trainer.accelerator.unwrap_model(trainer.model)


class SharedPromptDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer over packed rows and a precomputed reference; see the module's docstring."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        data: TrialData,
        point: DPOHyperparams,
        model_settings: ModelSettings,
        training: TrainingSettings,
        seed: int,
        workdir: Path,
    ) -> None:
        rank, world = _rank_and_world()
        self.data, self.point, self.model_settings = data, point, model_settings
        self.row_tokens = training.row_tokens or DEFAULT_ROW_TOKENS
        train = TokenTable.of(data.train)
        self.loss_beta = point.loss_beta(encoding_report(train).mean_response_tokens)
        # A pair that truncation made equal has no gradient; it is scored, as a tie, not trained.
        self.trainable = np.flatnonzero(train.distinct)
        steps = training.steps(len(self.trainable))
        self.evaluation_steps = frozenset(training.evaluation_steps(steps))
        order = self._order(steps, training.batch_pairs, seed)
        self.my_batches = self.trainable[order][:, rank::world]
        self.step_losses: list[float] = []
        adapter = model_settings.adapter
        with _no_weight_hash():
            super().__init__(
                model=model,
                args=dpo_config(
                    model_settings, training, point, steps, workdir, seed, _on_gpu(model)
                ),
                train_dataset=Dataset.from_dict({"step": list(range(steps))}),
                processing_class=tokenizer,
                data_collator=lambda rows: {"step": rows[0]["step"]},
                peft_config=lora_config(adapter, point.lora_rank) if adapter else None,
            )
        fuse_lora(self.model)
        self.remove_callback(PrinterCallback)
        trainable = [p.dtype for p in self.model.parameters() if p.requires_grad]
        assert trainable
        assert all(dtype == torch.float32 for dtype in trainable)

    def _order(self, steps: int, batch_pairs: int, seed: int) -> Any:
        """Positions in `trainable`, shape (steps, batch_pairs); the same for every trial."""
        if not self.data.weights:
            return batch_order(len(self.trainable), steps=steps, batch_pairs=batch_pairs, seed=seed)
        labels = TokenTable.of(self.data.train).labels("source")
        sources = [labels[i] for i in self.trainable]
        return weighted_order(
            sources, self.data.weights, steps=steps, batch_pairs=batch_pairs, seed=seed
        )

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Step numbers in order: `my_batches` says which pairs a step trains on this rank."""
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=self.data_collator)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of one batch, row by row. Returns the batch's mean loss."""
        model.train()
        indices = self.my_batches[inputs["step"]]
        pairs = [self.data.train[i] for i in indices]
        total = torch.zeros((), device=self.args.device)
        rows = pack(pairs, self.row_tokens)
        for number, members in enumerate(rows):
            last = number == len(rows) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss = self.row_loss(model, pairs, indices, members).sum() / len(indices)
                self.accelerator.backward(loss)
            total += loss.detach()
        value = total.item()
        if not np.isfinite(value):
            step = int(self.state.global_step) + 1
            raise TrialFailed("nan", f"the training loss is {value} at step {step}")
        self.step_losses.append(value)
        return total

    def row_loss(
        self, model: Any, pairs: Sequence[EncodedPair], indices: Any, members: Sequence[int]
    ) -> Tensor:
        """DPO losses of the pairs of one row, shape (len(members),)."""
        device = self.args.device
        row = build_row([pairs[i] for i in members], members).to(device)
        with self.compute_loss_context_manager():
            policy = row_logps(model, row, self.data.shared)
        reference = _reference_logps(self.data.train_reference, indices[list(members)]).to(device)
        return dpo_losses(preference_score(policy, reference, self.point, self.loss_beta))

    def evaluate_select(self) -> Outcomes:
        """The select split under the current policy, every pair once, on every rank."""
        rank, world = _rank_and_world()
        # Rows are packed before they are dealt out: one worker and many run the same rows.
        rows = pack_rows(self.data.select, self.row_tokens)
        with autocast(self.model_settings, str(self.args.device)):
            mine = score_rows(self.model, rows[rank::world], self.data.shared)
        logps = stack(_gather(mine, world), len(self.data.select)).numpy()
        if not (np.isfinite(logps["chosen"]).all() and np.isfinite(logps["rejected"]).all()):
            step = int(self.state.global_step)
            raise TrialFailed(
                "nan", f"the policy's log-probabilities are no numbers at step {step}"
            )
        return build_outcomes(
            self.data.select, logps, self.data.select_reference, self.model_settings.dtype
        )

    def floating_point_ops(self, inputs: Any) -> int:
        return 0

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.load_training_state(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing is drawn after the start: order is fixed by the seed, dropout is off."""


class _Evaluations(TrainerCallback):  # type: ignore[misc]
    """Scores the select split at the scheduled steps and tells the caller."""

    def __init__(
        self, trainer: SharedPromptDPOTrainer, on_evaluation: OnEvaluation, on_step: OnStep | None
    ) -> None:
        self.trainer, self.on_evaluation, self.on_step = trainer, on_evaluation, on_step
        self.began = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer = self.trainer
        if self.on_step is not None:
            self.on_step(state.global_step, trainer.step_losses[-1])
        if state.global_step not in trainer.evaluation_steps:
            return
        loss = _mean_over_ranks(float(np.mean(trainer.step_losses)))
        trainer.step_losses.clear()
        outcomes = trainer.evaluate_select()
        self.on_evaluation(
            Evaluation(
                step=state.global_step,
                last=state.global_step == state.max_steps,
                loss=loss,
                seconds=time.monotonic() - self.began,
                outcomes=outcomes,
                save=lambda folder: checkpoints.save(trainer, folder),
            )
        )


def dpo_config(
    model_settings: ModelSettings,
    training: TrainingSettings,
    point: DPOHyperparams,
    steps: int,
    workdir: Path,
    seed: int,
    on_gpu: bool,
) -> DPOConfig:
    """TRL's config for one trial; `training.trl` has been checked when the sweep was loaded."""
    return DPOConfig(
        output_dir=str(workdir),
        max_steps=steps,
        seed=seed,  # TRL seeds again before it creates the adapter
        learning_rate=point.learning_rate,
        beta=point.beta or point.beta_per_token or 0.1,  # for TRL's logs; the loss is ours
        per_device_train_batch_size=1,
        warmup_steps=round(training.warmup_fraction * steps),
        gradient_checkpointing=bool(training.gradient_checkpointing),
        precompute_ref_log_probs=True,
        max_length=None,
        save_strategy="no",
        report_to="none",
        logging_nan_inf_filter=False,
        bf16=model_settings.dtype == "bfloat16",
        fp16=model_settings.dtype == "float16",
        use_cpu=not on_gpu,
        **{
            "logging_steps": max(1, steps),
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            **training.trl,
        },
    )


def build_outcomes(
    pairs: Sequence[EncodedPair], policy: Columns, reference: Columns, dtype: str
) -> Outcomes:
    """Per-pair outcomes of `pairs` from the policy's and the reference's columns."""
    return Outcomes(
        ids=tuple(TokenTable.of(pairs).ids),
        chosen_logp=policy["chosen"].astype(np.float64),
        rejected_logp=policy["rejected"].astype(np.float64),
        ref_chosen_logp=reference["chosen"].astype(np.float64),
        ref_rejected_logp=reference["rejected"].astype(np.float64),
        chosen_tokens=policy["chosen_tokens"].astype(np.int64),
        rejected_tokens=policy["rejected_tokens"].astype(np.int64),
        tie_nats=TIE_NATS[dtype],
    )


def _reference_logps(columns: Columns, indices: Any) -> PairLogps:
    return PairLogps(**{name: torch.as_tensor(columns[name][indices]) for name in COLUMNS})


def _on_gpu(model: Any) -> bool:
    return bool(next(model.parameters()).device.type == "cuda")


def _rank_and_world() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _gather(mine: dict[int, PairLogps], world: int) -> dict[int, PairLogps]:
    if world == 1:
        return mine
    parts: list[Any] = [None] * world
    dist.all_gather_object(parts, mine)
    return {index: logps for part in parts for index, logps in part.items()}


def _mean_over_ranks(value: float) -> float:
    _, world = _rank_and_world()
    if world == 1:
        return value
    parts: list[Any] = [None] * world
    dist.all_gather_object(parts, value)
    return float(np.mean(parts))


@contextlib.contextmanager
def _no_weight_hash() -> Any:
    """TRL hashes all weights for its own reference cache (minutes for 7B); that cache is unused."""
    original = trl_module.hash_module
    trl_module.hash_module = lambda _: ""
    try:
        yield
    finally:
        trl_module.hash_module = original


def check_trl_fields(training: TrainingSettings) -> None:
    """Raises SettingsError on a field that TRL's DPOConfig does not have."""
    from trl import DPOConfig

    unknown = sorted(set(training.trl) - {f.name for f in fields(DPOConfig)})
    if unknown:
        raise SettingsError(f"training.trl.{unknown[0]}: TRL's DPOConfig has no such field")
