"""The documented recipe, as a user would write it from the pages of Ray and TRL: the other side of
`tests.bench`.

A Tune function trainable builds and fits one `TorchTrainer` a trial; its train loop loads model and
tokenizer and hands the pairs to TRL's `DPOTrainer`, which tokenizes them, runs the reference (the
model with its adapter off, or a second copy of it) beside the policy, and evaluates. Nothing of the
project is used here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import tune

_ROW = ("prompt", "chosen", "rejected")


def run_recipe(
    model_dir: Path,
    train_jsonl: Path,
    select_jsonl: Path,
    points: Sequence[dict[str, Any]],
    steps: int,
    batch_pairs: int,
    evaluations: int,
    storage: Path,
    adapter: dict[str, Any] | None,
    *,
    seed: int = 0,
    cpus: int = 2,
    max_tokens: int = 1024,
    warmup_fraction: float = 0.1,
) -> list[dict[str, Any]]:
    """One dict a point, in order: seconds, startup_s (Tune's start of the trial to the first step),
    accuracy (TRL's, at the end) and accuracies (of every evaluation). Needs a connected Ray.

    A point is {learning_rate, beta, loss_type}, as `DPOConfig` takes them. `adapter` holds the
    arguments of PEFT's `LoraConfig`; None trains every weight.
    """
    fixed = {
        "model": str(model_dir),
        "train": str(train_jsonl),
        "select": str(select_jsonl),
        "steps": steps,
        "batch_pairs": batch_pairs,
        "evaluation_steps": max(1, steps // evaluations),
        "warmup_steps": round(warmup_fraction * steps),
        "max_tokens": max_tokens,
        "adapter": adapter,
        "seed": seed,
    }
    clock = _Clock()
    results = tune.Tuner(
        # The driver of a trial only waits; Ray refuses an empty bundle, hence one byte.
        tune.with_resources(
            tune.with_parameters(_tune_trial, fixed=fixed, storage=str(storage), cpus=cpus),
            tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}]),
        ),
        param_space={"point": tune.grid_search(list(points))},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(
            name=f"recipe-{time.time_ns()}", storage_path=str(storage), callbacks=[clock], verbose=0
        ),
    ).fit()
    for result in results:
        if result.error is not None:
            raise result.error
    return clock.rows


class _Clock(tune.Callback):  # type: ignore[misc]
    """When Tune started and ended each trial, and what the trial reported, one trial at a time."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.rows.append({"point": trial.config["point"], "started": time.time(), "accuracies": []})

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        row = self.rows[-1]
        row["startup_s"] = result["first_step_at"] - row["started"]
        row["accuracy"] = result["eval_rewards/accuracies"]
        row["accuracies"].append(row["accuracy"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.rows[-1]["seconds"] = time.time() - self.rows[-1]["started"]


def _tune_trial(config: dict[str, Any], fixed: dict[str, Any], storage: str, cpus: int) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    TorchTrainer(
        _train_loop,
        train_loop_config={**fixed, **config["point"]},
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": cpus}),
        run_config=RunConfig(
            name=f"train-{tune.get_context().get_trial_id()}",
            storage_path=storage,
            callbacks=[TuneReportCallback()],
        ),
    ).fit()


def _train_loop(config: dict[str, Any]) -> None:
    import tempfile

    import torch
    from peft import LoraConfig
    from ray.train.huggingface.transformers import RayTrainReportCallback, prepare_trainer
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOTrainer

    class FirstStep(TrainerCallback):  # type: ignore[misc]
        """Leaves the time of the first step where RayTrainReportCallback finds its metrics."""

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 0:
                state.log_history.append({"first_step_at": time.time()})

    with tempfile.TemporaryDirectory() as workdir:
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(config["model"], dtype=torch.float32),
            args=_dpo_config(config, workdir),
            train_dataset=_dataset(config["train"]),
            eval_dataset=_dataset(config["select"]),
            processing_class=AutoTokenizer.from_pretrained(config["model"]),
            peft_config=LoraConfig(**config["adapter"]) if config["adapter"] else None,
        )
        trainer.add_callback(FirstStep())
        trainer.add_callback(RayTrainReportCallback())
        prepare_trainer(trainer).train()


def _dpo_config(config: dict[str, Any], workdir: str) -> Any:
    from trl import DPOConfig

    return DPOConfig(
        output_dir=workdir,
        max_steps=config["steps"],
        learning_rate=config["learning_rate"],
        beta=config["beta"],
        loss_type=config["loss_type"],
        warmup_steps=config["warmup_steps"],
        per_device_train_batch_size=config["batch_pairs"],
        per_device_eval_batch_size=config["batch_pairs"],
        max_length=config["max_tokens"],
        eval_strategy="steps",
        eval_steps=config["evaluation_steps"],
        save_strategy="steps",
        save_steps=config["evaluation_steps"],
        # In the order of the file, so that both sides of the bench learn from the same batches.
        train_sampling_strategy="sequential",
        logging_steps=config["evaluation_steps"],
        seed=config["seed"],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
    )


def _dataset(path: str) -> Any:
    """Prompt, chosen and rejected, as they stand in the file; TRL does the rest."""
    from datasets import Dataset

    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return Dataset.from_list([{name: row[name] for name in _ROW} for row in rows])
