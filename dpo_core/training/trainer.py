"""The training of one trial in one process group: TRL's DPOTrainer over packed rows of pairs.

This is the only file that imports TRL. What the subclass changes, and why:
  - data arrives encoded, in the sweep's order; TRL would tokenize and truncate again;
  - the reference's log-probs are a table; TRL would keep a second model or recompute per trial;
  - a batch is run row by row, prompts shared, head on answers only; gradients are accumulated.
Optimizer, schedule, clipping, precision and distribution stay TRL's and Transformers' own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import numpy as np
import numpy.typing as npt
import torch
import trl.trainer.dpo_trainer as trl_module
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    set_seed,
)
from trl import DPOConfig, DPOTrainer

from dpo_core.encoding.packing import build_row, pack, pack_rows
from dpo_core.encoding.token_table import EncodedPair, TokenTable, encoding_report
from dpo_core.errors import TrialFailed
from dpo_core.evaluation.outcomes import Outcomes, build_outcomes
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.models.dropout import train_without_noise
from dpo_core.models.load import autocast, load_model, whole_model
from dpo_core.models.lora_targets import lora_config
from dpo_core.ops.fused_lora import fuse_lora
from dpo_core.scoring.logprobs import PairLogps, row_logps, score_rows, stack
from dpo_core.scoring.precision import scoring_precision
from dpo_core.scoring.preference_score import preference_score
from dpo_core.scoring.reference_cache import COLUMNS, Columns
from dpo_core.settings import DEFAULT_ROW_TOKENS, ModelSettings, TrainingSettings
from dpo_core.training import checkpoints
from dpo_core.training.batch_order import batch_order, weighted_order
from dpo_core.training.evaluation_callback import EvaluationCallback, OnEvaluation, OnStep
from dpo_core.training.loss import dpo_losses
from dpo_core.training.ranks import gather_dicts, rank_and_world
from dpo_core.training.trial_data import TrialData

if TYPE_CHECKING:
    from dpo_core.models.load import CausalModel

Indices = npt.NDArray[np.int64]


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
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
) -> CausalModel:
    """Train `model` on one point. Every rank of the trial calls this.

    Args:
        model: The untouched base model, on this rank's device; trained in place.
        tokenizer: Its tokenizer.
        data: Encoded pairs and the reference's log-probs of them.
        point: The sampled hyperparameters.
        model_settings: Adapter and dtype.
        training: Steps, batches and evaluations.
        seed: Decides the order of the pairs and the adapter's start.
        workdir: A folder that TRL may write to.
        on_evaluation: Called on every rank after each scheduled evaluation.
        on_step: Called on every rank after each step with its number and loss.
        resume_from: A checkpoint to continue from.

    Returns:
        The trained model, under its adapter if it has one.

    Raises:
        TrialFailed: The reason is "nan": a loss or a held-out log-probability is not finite.
    """
    set_seed(seed)
    trainer = SharedPromptDPOTrainer(
        model, tokenizer, data, point, model_settings, training, seed, workdir
    )
    trainer.add_callback(EvaluationCallback(trainer, on_evaluation, on_step))
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    trained: CausalModel = trainer.accelerator.unwrap_model(trainer.model)
    return trained


class SharedPromptDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """A DPOTrainer over packed rows and a precomputed reference; see the module's docstring."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        data: TrialData,
        point: DPOHyperparams,
        model_settings: ModelSettings,
        training: TrainingSettings,
        seed: int,
        workdir: Path,
    ) -> None:
        rank, world = rank_and_world()
        self.data, self.point, self.model_settings = data, point, model_settings
        self.row_tokens = training.row_tokens or DEFAULT_ROW_TOKENS
        train = TokenTable.of(data.train)
        self.loss_beta = point.loss_beta(encoding_report(train).mean_response_tokens)
        # A pair that truncation made equal has no gradient; it is scored, as a tie, not trained.
        self.trainable = np.flatnonzero(train.distinct)
        steps = training.steps(len(self.trainable))
        self.evaluation_steps = frozenset(training.evaluation_steps(steps))
        order = self._order(steps, training.batch_pairs, seed)
        self.rank_batches = self.trainable[order][:, rank::world]
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
                peft_config=lora_config(adapter, point.lora_rank, model) if adapter else None,
            )
        fuse_lora(self.model)
        self.remove_callback(PrinterCallback)
        trainable = [p.dtype for p in self.model.parameters() if p.requires_grad]
        assert trainable
        assert all(dtype == torch.float32 for dtype in trainable)

    def _order(self, steps: int, batch_pairs: int, seed: int) -> Indices:
        """Return positions in `trainable`, (steps, batch_pairs); the same for every trial."""
        if not self.data.weights:
            return batch_order(len(self.trainable), steps=steps, batch_pairs=batch_pairs, seed=seed)
        labels = TokenTable.of(self.data.train).labels("source")
        sources = [labels[i] for i in self.trainable]
        return weighted_order(
            sources, self.data.weights, steps=steps, batch_pairs=batch_pairs, seed=seed
        )

    def _prepare_dataset(self, dataset: Dataset, *_: object, **__: object) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: object, **__: object) -> Dataset:
        return dataset

    def get_train_dataloader(self) -> DataLoader[dict[str, int]]:
        """Load step numbers in order; `rank_batches` has the pairs of each step on this rank."""
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=self.data_collator)

    def training_step(
        self, model: nn.Module, inputs: Mapping[str, int], _num_items: object = None
    ) -> Tensor:
        """Run forward and backward passes of one batch, row by row.

        Args:
            model: The policy, maybe in a data-parallel wrapper.
            inputs: The number of the step, from 0, under "step".
            _num_items: Transformers' count of items, which is not used.

        Returns:
            The mean loss of this rank's part of the batch, shape (), nats.

        Raises:
            TrialFailed: The loss is not finite.
        """
        train_without_noise(model)
        self._seed_dropout(inputs["step"])
        indices = self.rank_batches[inputs["step"]]
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

    def _seed_dropout(self, step: int) -> None:
        """Draw the dropout of an adapter from seed, step and rank: a resumed trial draws the same."""
        adapter = self.model_settings.adapter
        if adapter is not None and adapter.dropout:
            entropy = (self.args.seed, step, rank_and_world()[0])
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def row_loss(
        self,
        model: nn.Module,
        pairs: Sequence[EncodedPair],
        indices: Indices,
        members: Sequence[int],
    ) -> Tensor:
        """Compute the DPO losses of the pairs of one row, each with its own margin, times its weight.

        Args:
            model: The policy, maybe in a data-parallel wrapper.
            pairs: This rank's part of the batch.
            indices: Their positions in the train split, (len(pairs),).
            members: Which of `pairs` are in the row.

        Returns:
            Losses in nats, (len(members),).
        """
        device = self.args.device
        row = build_row([pairs[i] for i in members], members).to(device)
        # Accelerate's autocast covers the model, but not the head, which comes after it.
        with self.compute_loss_context_manager(), autocast(self.model_settings, str(device)):
            policy = row_logps(model, row, self.data.layout)
        reference = _reference_logps(self.data.train_reference, indices[list(members)]).to(device)
        weights, margins = (
            torch.tensor([getattr(pairs[i], name) for i in members], device=device)
            for name in ("weight", "margin")
        )
        score = preference_score(policy, reference, self.point, self.loss_beta)
        return weights * dpo_losses(score, margins)

    def evaluate_select(self) -> Outcomes:
        """Score the select split under the current policy; every rank gets every pair's outcome.

        Raises TrialFailed when a log-probability is not finite.
        """
        rank, world = rank_and_world()
        # Rows are packed before ranks share them out: one worker and many run the same rows.
        rows = pack_rows(self.data.select, self.row_tokens)
        with scoring_precision(self.model, self.model_settings, self.data.score_dtype):
            local = score_rows(self.model, rows[rank::world], self.data.layout)
        logps = stack(gather_dicts(local), len(self.data.select)).numpy()
        if not (np.isfinite(logps["chosen"]).all() and np.isfinite(logps["rejected"]).all()):
            step = int(self.state.global_step)
            raise TrialFailed(
                "nan", f"the policy's log-probabilities are no numbers at step {step}"
            )
        return build_outcomes(self.data.select, logps, self.data.select_reference)

    def floating_point_ops(self, _inputs: object) -> int:
        """Return 0: Transformers' estimate would read token columns, which a step has not."""
        return 0

    def _load_from_checkpoint(self, checkpoint: str, model: PreTrainedModel | None = None) -> None:
        """Load weights as a model is loaded: Transformers' trainer knows no names but the model's own.

        Files have the experts one by one, where the model has them stacked.
        """
        if self.model_settings.adapter is not None:
            super()._load_from_checkpoint(checkpoint, model)
            return
        trained = load_model(whole_model(self.model_settings, Path(checkpoint)))
        (model or self.model).load_state_dict(trained.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.load_training_state(Path(checkpoint), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Skip it: an adapter's dropout, if any, is seeded at each step; nothing else is drawn."""


def dpo_config(
    model_settings: ModelSettings,
    training: TrainingSettings,
    point: DPOHyperparams,
    steps: int,
    workdir: Path,
    seed: int,
    on_gpu: bool,
) -> DPOConfig:
    """Build TRL's config for one trial.

    Args:
        model_settings: The dtype of compute.
        training: Warmup, checkpointing, and further fields of DPOConfig under `trl`, which were
            checked when the sweep was loaded.
        point: The sampled hyperparameters.
        steps: Optimizer steps.
        workdir: A folder that TRL may write to.
        seed: The seed of the trial.
        on_gpu: Whether the model is on a GPU.

    Returns:
        A config that logs nothing, saves nothing and never truncates.
    """
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
        disable_dropout=False,  # the model's own is off since it was loaded, an adapter's is wanted
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


def _reference_logps(columns: Columns, indices: Indices) -> PairLogps:
    return PairLogps(**{name: torch.as_tensor(columns[name][indices]) for name in COLUMNS})


def _on_gpu(model: PreTrainedModel) -> bool:
    return bool(next(model.parameters()).device.type == "cuda")


@contextlib.contextmanager
def _no_weight_hash() -> Iterator[None]:
    """Keep TRL from hashing all weights (minutes for 7B) for a reference cache that is not used."""
    original = trl_module.hash_module
    trl_module.hash_module = lambda _: ""
    try:
        yield
    finally:
        trl_module.hash_module = original


@cache
def trl_field_types() -> Mapping[str, type]:
    """Return the type of each field of TRL's DPOConfig, by name."""
    hints = get_type_hints(DPOConfig)
    return {each.name: hints[each.name] for each in fields(DPOConfig)}
