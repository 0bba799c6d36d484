"""Two training steps on one pair, and all that follows a step in a trial: score, save, load, merge.

What a model cannot do fails here in seconds, before any trial. The second step is for models that keep
a state from the first.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.errors import ModelError, TrialFailed, UserError
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.models.load import load_model, reason_of, whole_model
from dpo_core.models.reusable import ReusableModel
from dpo_core.settings import ModelSettings, TrainingSettings
from dpo_core.training.trainer import train
from dpo_core.training.trial_data import TrialData

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dpo_core.models.load import CausalModel
    from dpo_core.training.evaluation_callback import Evaluation

_ADAPTER = "default"  # PEFT's name of an adapter that has none of its own


class DoesNotFit(ModelError):
    """An error of a model that needs more memory than there is."""


@dataclass
class OneStep:
    """A model that trains on one pair, is saved, loaded and merged; then it is as before."""

    settings: ModelSettings
    training: TrainingSettings
    """As a trial has them, with row length and checkpointing resolved."""
    tokenizer: PreTrainedTokenizerBase
    seconds: dict[str, float] = field(default_factory=dict)
    """The seconds of each part that was tried."""

    def try_training(
        self, model: PreTrainedModel, data: TrialData, point: DPOHyperparams, scratch: Path
    ) -> None:
        """Train, save, load and merge once, and restore the model.

        Args:
            model: The untouched model, on its device.
            data: One pair for each split, with its log-probs under the model.
            point: The largest that the sweep may draw, which is that of the highest rank.
            scratch: A folder for what is saved.

        Raises:
            ModelError: A part failed; the message says which, and the way out.
        """
        reusable = ReusableModel.of(model, self.settings)
        with tempfile.TemporaryDirectory(prefix="dpo-sweeps-", dir=scratch) as folder:
            saved = Path(folder) / "checkpoint"
            with reusable.restored_after_use() as untouched:
                with self.part("two training steps", ADAPT):
                    trained = self._train(untouched, data, point, Path(folder) / "trl", saved)
                if self.settings.adapter is None:
                    with self.part("loading what was saved", _REPORT):
                        loaded = load_model(whole_model(self.settings, saved))
                        _refuse_difference(self.settings.path, _trained(trained), _trained(loaded))
                    return
                adapter = {name: w.detach().cpu().clone() for name, w in _trained(trained).items()}
            with reusable.restored_after_use() as untouched:
                with self.part("loading what was saved", _REPORT):
                    adapted = PeftModel.from_pretrained(untouched, saved, is_trainable=True)
                    _refuse_difference(self.settings.path, adapter, _trained(adapted))
                with self.part("one merge", _REPORT):
                    _merge_once(adapted)

    def generate(self, model: PreTrainedModel, pair: EncodedPair) -> None:
        """Let a model answer with two tokens, as its own generation_config.json has it.

        Args:
            model: The untouched model, on its device.
            pair: Its prompt is answered.

        Raises:
            ModelError: It cannot generate.
        """
        ids = torch.tensor([pair.prompt], device=model.device)
        with self.part("two generated tokens", _GENERATE), torch.random.fork_rng(), torch.no_grad():
            mask, pad = torch.ones_like(ids), self.tokenizer.pad_token_id
            model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=2,
                pad_token_id=pad,
                use_cache=True,
            )

    @contextlib.contextmanager
    def part(self, name: str, way_out: str) -> Iterator[None]:
        """Time a part of the check, and turn what fails in it into a ModelError of one line.

        Args:
            name: What is tried.
            way_out: What a user can do about it.

        Yields:
            Nothing.
        """
        start, before = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            reason = error.detail if isinstance(error, TrialFailed) else reason_of(error)
            fits = not _is_out_of_memory(error)
            if isinstance(error, TrialFailed) and error.reason == "nan":
                way_out = _NUMBERS
            raise (ModelError if fits else DoesNotFit)(
                f"model.path: {self.settings.path}: {name} failed ({reason}); "
                f"{way_out if fits else _MEMORY}"
            ) from error
        within = sum(self.seconds.values()) - before  # of parts that this one consists of
        self.seconds[name] = round(time.perf_counter() - start - within, 2)

    def _train(
        self,
        model: PreTrainedModel,
        data: TrialData,
        point: DPOHyperparams,
        workdir: Path,
        saved: Path,
    ) -> CausalModel:
        """Train two steps, save the result, and return it."""

        def save(evaluation: Evaluation) -> None:
            with self.part("saving", _REPORT):
                evaluation.save(saved)

        training = self.training.model_copy(
            update={"max_steps": 2, "epochs": None, "batch_pairs": 1, "evaluations": 1}
        )
        return train(
            model,
            self.tokenizer,
            data,
            point,
            model_settings=self.settings,
            training=training,
            seed=0,
            workdir=workdir,
            on_evaluation=save,
        )


@torch.no_grad()
def _merge_once(model: PeftModel) -> None:
    """Compute what merging adds to one adapted module of each kind."""
    kinds: dict[tuple[type, type], BaseTunerLayer] = {}
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer) and hasattr(layer, "get_delta_weight"):
            kinds.setdefault((type(layer), type(layer.get_base_layer())), layer)
    for layer in kinds.values():
        product = layer.get_delta_weight(_ADAPTER)
        if not torch.isfinite(product).all():
            raise ValueError("the adapter's product is NaN or infinite after two steps")


def _trained(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _refuse_difference(
    path: str, trained: Mapping[str, Tensor], loaded: Mapping[str, Tensor]
) -> None:
    """Raise ModelError unless every tensor that was trained is also the one that was loaded."""
    for name, weight in trained.items():
        if name not in loaded or not torch.equal(weight.cpu().float(), loaded[name].cpu().float()):
            raise ModelError(
                f"model.path: {path}: {name} is another one when what was trained is saved and loaded "
                f"again; {_REPORT}"
            )


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "allocate memory" in str(error) or "not enough memory" in str(error)
    )


ADAPT = "give model.adapter.targets that this architecture has, model.attention: eager, or another model"
_GENERATE = "mend generation_config.json beside the weights, or delete it"
_REPORT = "this architecture cannot be tuned here yet: give another model, or report it"
_NUMBERS = "set model.dtype: bfloat16 or float32, or give another model"
_MEMORY = (
    "use a LoRA adapter, model.dtype: bfloat16, training.gradient_checkpointing: true, a smaller "
    "data.max_tokens, or a larger device"
)
