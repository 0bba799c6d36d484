"""One training step of each side on the same batches, and the floor that arithmetic sets."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.preferences import PreferencePair
from tests.bench.flops import PairTokens, Shape, step_flops
from tests.bench.probe import say
from tests.bench.table import Row
from tests.bench.turns import PassOn, alternate

WARM_UP = 2
STEPS = 6
BATCH_PAIRS = 4
_POINT = {"learning_rate": 1e-4, "beta": 0.1}
_MAX_TOKENS = 1024
_PRODUCT_S = 0.5


def measure(
    name: str, model_dir: Path, lora: bool, pairs: Sequence[PreferencePair], steps: int
) -> dict[str, Any]:
    """Seconds of each measured step of both sides, losses, tokens, the floor in seconds."""
    import torch

    say(f"step: {name}, {WARM_UP + steps} steps of each side")
    bench = _StepBench(model_dir, lora, pairs, WARM_UP + steps)
    model = bench.load()
    shape, config = shape_of(model), model.config
    del model
    batches = [list(map(_tokens_of, batch)) for batch in bench.batches[WARM_UP:]]
    # Before and after: a machine that was busy at one of the times would lower the floor.
    rates = [product_rate(shape, config, batches)]
    sides = alternate([bench.ours, bench.trl])
    rates.append(product_rate(shape, config, batches))
    ours, trl = (side.seconds[WARM_UP : WARM_UP + steps] for side in sides)
    say(f"step: {name}, {statistics.median(ours):.2f} s against {statistics.median(trl):.2f} s")
    return {
        "ours_s": ours,
        "trl_s": trl,
        "losses": {"ours": sides[0].result, "trl": sides[1].result},
        "tokens": [sum(p.prompt + p.chosen + p.rejected for p in batch) for batch in batches],
        "flops": [step_flops(shape, batch, full=not lora) for batch in batches],
        "gflops_per_s": max(rates),
        "rates": rates,
        "threads": torch.get_num_threads(),
        "shape": vars(shape),
    }


def rows(name: str, raw: dict[str, Any], floor_goal: float | None) -> list[Row]:
    ours, trl = raw["ours_s"], raw["trl_s"]
    floors = [flops / 1e9 / raw["gflops_per_s"] for flops in raw["flops"]]
    return [
        Row(
            f"step: {name}",
            statistics.median(ours),
            statistics.median(trl),
            "s",
            "<=",
            0.30,
        ),
        Row(
            f"step: {name}, tokens of shared rows",
            sum(raw["tokens"]) / sum(ours),
            sum(raw["tokens"]) / sum(trl),
            "/s",
        ),
        Row(
            f"step: {name}, share of the floor",
            _share(floors, ours),
            _share(floors, trl),
            "",
            ">=" if floor_goal else "",
            floor_goal,
            "ours",
        ),
    ]


def shape_of(model: Any) -> Shape:
    """Counted on the model itself; the head's products are the vocabulary's, tied or not."""
    from torch import nn

    config = model.config
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    head = model.get_output_embeddings()
    width = config.num_attention_heads * head_size(config)
    return Shape(
        body=sum(m.weight.numel() for m in linear.values() if m is not head),
        head=head.weight.numel(),
        layers=config.num_hidden_layers,
        attention_width=width,
    )


def head_size(config: Any) -> int:
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(size)


def product_rate(shape: Shape, config: Any, batches: Sequence[Sequence[PairTokens]]) -> float:
    """GF/s of the fastest fp32 product among the model's own shapes."""
    tokens = _median(sum(p.prompt + p.chosen + p.rejected for p in batch) for batch in batches)
    answers = _median(sum(p.chosen + p.rejected for p in batch) for batch in batches)
    hidden, inner = config.hidden_size, config.intermediate_size
    vocabulary = shape.head // hidden
    shapes = [
        (tokens, hidden, hidden),
        (tokens, hidden, inner),
        (tokens, inner, hidden),
        (answers, hidden, vocabulary),
    ]
    return max(_rate(*sizes) for sizes in shapes)


def _rate(rows: int, inner: int, columns: int) -> float:
    """GF/s of (rows, inner) · (inner, columns), the best within half a second of repeats."""
    import torch

    left, right = torch.randn(rows, inner), torch.randn(columns, inner)
    out = torch.empty(rows, columns)  # written before: new pages would cost more than a product
    best, end = float("inf"), time.perf_counter() + _PRODUCT_S
    while (started := time.perf_counter()) < end:
        torch.mm(left, right.T, out=out)
        best = min(best, time.perf_counter() - started)
    return 2e-9 * rows * inner * columns / best


class _StepBench:
    """Both sides on the same pairs in the same order, from the same weights."""

    def __init__(
        self, model_dir: Path, lora: bool, pairs: Sequence[PreferencePair], steps: int
    ) -> None:
        from dpo_core.encoding.encode import encode, uses_chat_template
        from dpo_core.models.load import load_tokenizer, silence_libraries
        from dpo_core.preferences import as_chat
        from dpo_core.scoring.scorer import Scorer
        from dpo_core.settings import LoraSettings, ModelSettings, TrainingSettings
        from dpo_core.training.batch_order import batch_order

        silence_libraries()
        self.settings = ModelSettings(path=str(model_dir), adapter=LoraSettings() if lora else None)
        self.training = TrainingSettings(
            max_steps=steps, batch_pairs=BATCH_PAIRS, evaluations=1, epochs=None
        )
        self.tokenizer = load_tokenizer(self.settings)
        chat = uses_chat_template(self.tokenizer, "auto")
        needed = steps * BATCH_PAIRS
        self.pairs = [as_chat(p) if chat else p for p in pairs[:needed]]
        self.encoded = list(encode(self.pairs, self.tokenizer, _MAX_TOKENS))
        assert all(pair.distinct for pair in self.encoded)
        self.order = batch_order(len(self.pairs), steps=steps, batch_pairs=BATCH_PAIRS, seed=0)
        self.reference = Scorer(self.settings)(self.encoded)

    @property
    def batches(self) -> list[list[EncodedPair]]:
        return [[self.encoded[i] for i in batch] for batch in self.order]

    def load(self) -> Any:
        from dpo_core.models.load import load_model

        return load_model(self.settings)

    def _load_plainly(self) -> Any:
        """As a user of TRL would: without what this project does to a model."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(self.settings.path, dtype="float32")

    def ours(self, pass_on: PassOn) -> list[float]:
        """The loss of each step."""
        from dpo_core.hyperparams import DPOHyperparams
        from dpo_core.training.trainer import train
        from dpo_core.training.trial_data import TrialData

        losses: list[float] = []

        def on_step(step: int, loss: float) -> None:
            losses.append(loss)
            pass_on()

        # Evaluated once, after the last measured step: two pairs will do.
        few = {name: values[:2] for name, values in self.reference.items()}
        with tempfile.TemporaryDirectory() as workdir:
            train(
                self.load(),
                self.tokenizer,
                TrialData(self.encoded, self.encoded[:2], self.reference, few),
                DPOHyperparams.from_point(_POINT),
                model_settings=self.settings,
                training=self.training,
                seed=0,
                workdir=Path(workdir),
                on_evaluation=lambda _: None,
                on_step=on_step,
            )
        return losses

    def trl(self, pass_on: PassOn) -> list[float]:
        """The loss of each step."""
        from datasets import Dataset
        from transformers import PrinterCallback, TrainerCallback
        from trl import DPOTrainer

        from dpo_core.models.lora_targets import lora_config

        class Precomputed(DPOTrainer):  # type: ignore[misc]
            """TRL's trainer with its own precomputed reference, which the data set brings along."""

            def _precompute_ref_logps(self, dataset: Any, *_: Any, **__: Any) -> Any:
                return dataset

        class StepEnd(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                pass_on()

        adapter = self.settings.adapter
        model = self._load_plainly()
        with tempfile.TemporaryDirectory() as workdir:
            trainer = Precomputed(
                model=model,
                args=self._trl_config(workdir),
                train_dataset=Dataset.from_list(self._trl_rows()),
                processing_class=self.tokenizer,
                peft_config=lora_config(adapter, None, model) if adapter else None,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(StepEnd())
            trainer.train()
        return [log["loss"] for log in trainer.state.log_history if "loss" in log]

    def _trl_rows(self) -> list[dict[str, Any]]:
        """In the order of our batches, with the reference of each pair."""
        from dpo_core.preferences import to_row

        sides = ("prompt", "chosen", "rejected")
        found = []
        for index in map(int, self.order.ravel()):
            row = to_row(self.pairs[index])
            logps = {
                f"ref_{side}_logps": float(self.reference[side][index])
                for side in ("chosen", "rejected")
            }
            found.append({**{side: row[side] for side in sides}, **logps})
        return found

    def _trl_config(self, workdir: str) -> Any:
        from trl import DPOConfig

        steps = len(self.order)
        return DPOConfig(
            output_dir=workdir,
            max_steps=steps,
            learning_rate=_POINT["learning_rate"],
            beta=_POINT["beta"],
            warmup_steps=round(self.training.warmup_fraction * steps),
            per_device_train_batch_size=BATCH_PAIRS,
            max_length=_MAX_TOKENS,
            train_sampling_strategy="sequential",
            precompute_ref_log_probs=True,
            save_strategy="no",
            logging_steps=1,
            seed=0,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            report_to="none",
            disable_tqdm=True,
        )


def _tokens_of(pair: EncodedPair) -> PairTokens:
    return PairTokens(len(pair.prompt), len(pair.chosen), len(pair.rejected))


def _share(floors: Sequence[float], seconds: Sequence[float]) -> float:
    return statistics.median(f / s for f, s in zip(floors, seconds, strict=True))


def _median(numbers: Any) -> int:
    return int(statistics.median(numbers))
