"""A sweep as its author wrote it: YAML to a checked, frozen `SweepConfig`. Neither torch nor ray.

`load_sweep(path, overrides)` is the only way in; every complaint is one readable line a problem.

Tested in tests/unit/sweeps/config/test_load.py.
"""

from __future__ import annotations

import random
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dpo_core.errors import SettingsError
from dpo_core.hyperparams import HYPERPARAM_NAMES, DPOHyperparams
from dpo_core.settings import DataSettings, ModelSettings, Settings, TrainingSettings
from dpo_core.wording import counted
from search_spaces import Axis, LogUniform, Space, SpaceError, Uniform, load_space
from search_spaces.axes import Scalar
from search_spaces.errors import suggestion
from sweeps.config.export import ExportSettings
from sweeps.config.nightly import NightSettings
from sweeps.config.selection import ConfirmSettings, SelectionSettings
from sweeps.config.study import check_study_url
from sweeps.config.trackers import TrackerSettings

_PROBES = 64
_CONFIRMED = ("lora", "full")
"""Presets that are meant for work, not for a demo: their best points are trained again."""


class SearchSettings(Settings):
    """Settings of the search: how points are chosen and how many trials run."""

    sampler: Literal["tpe", "gp", "nsga2", "random"] = "gp"
    """`gp`: noise-aware Gaussian process, for spaces without branches, where `tpe` is the default;
    `nsga2`: genetic, for two objectives."""
    objectives: list[Literal["accuracy", "drift"]] = Field(["accuracy"])
    """With `drift` the search looks for the front of accuracy against drift per token."""
    trials: int = Field(14, ge=1)
    concurrent: int = Field(1, ge=1)
    """Trials at the same time; each has its own workers."""
    scheduler: Literal["none", "asha"] = "none"
    """`asha` stops weak trials early, counted in optimizer steps."""
    retries: int = Field(2, ge=0)
    """How often a trial is continued after its worker or its node died."""
    study: str | None = None
    """A study shared by sweeps, besides each folder's study.db; its password is never in the URL."""

    @field_validator("study")
    @classmethod
    def _is_study(cls, value: str | None) -> str | None:
        return value and check_study_url(value)

    @model_validator(mode="after")
    def _consistent(self) -> SearchSettings:
        if "accuracy" not in self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise ValueError(
                f"objectives: {self.objectives} must be [accuracy] or [accuracy, drift]"
            )
        if len(self.objectives) > 1 and self.scheduler == "asha":
            raise ValueError(
                "scheduler: asha compares trials by accuracy alone and would stop those that drift "
                "least; use none, or objectives: [accuracy]"
            )
        if len(self.objectives) == 1 and self.sampler == "nsga2":
            raise ValueError(
                "sampler: nsga2 is for two objectives; use tpe, or objectives: [accuracy, drift]"
            )
        return self


class ResourceSettings(Settings):
    """Settings of what one trial gets from Ray."""

    workers: int = Field(1, ge=1)
    cpus_per_worker: float = Field(1, gt=0)
    gpus_per_worker: float = Field(0, ge=0)
    lanes: bool = True
    """Worker groups stay up between trials, instead of one `TorchTrainer` a trial."""
    trials_per_lane: int | None = Field(None, ge=1)
    """A lane is replaced after so many trials; null: never."""
    driver_resource: str | None = Field(
        None,
        pattern=r"^[A-Za-z][-\w]*$",
        description="name of letters, digits, - and _, which begins with a letter",
        examples=["on_demand"],
    )
    """A custom resource of the nodes that must run trials' drivers, such as nodes off spot."""
    autoscaling: bool = False
    """The cluster grows on demand, so what it has now says nothing about what it can have."""


class SweepConfig(Settings):
    """One sweep. The READMEs of sweeps, dpo_core and search_spaces document every key."""

    name: str = Field(
        pattern=r"^[a-z0-9][-a-z0-9]{0,40}$",
        description="name of at most 41 characters (a-z, 0-9, -; the first is no -)",
        examples=["hh-lora"],
    )
    seed: int = Field(0, ge=0)
    storage: str = "runs"
    resources: ResourceSettings = ResourceSettings()
    model: ModelSettings
    """Its `dtype` is bfloat16 unless given, where workers have a GPU."""
    data: DataSettings
    space: str | dict[str, Any] = Field(examples=["lora"])
    training: TrainingSettings
    search: SearchSettings = Field(SearchSettings(), validate_default=True)
    """Spaces with branches are searched by `tpe`, unless `sampler` is given."""
    selection: SelectionSettings = Field(SelectionSettings(), validate_default=True)
    """The presets for work confirm 3 points with a new seed, unless `confirm` is given."""
    export: ExportSettings = ExportSettings()
    trackers: TrackerSettings = TrackerSettings()
    nightly: NightSettings = NightSettings()

    @field_validator("storage")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("an empty name; give a folder or a URI")
        return value

    # These see the fields that stand before theirs; one that is malformed is not among them.
    @field_validator("model")
    @classmethod
    def _resolve_dtype(cls, model: ModelSettings, info: ValidationInfo) -> ModelSettings:
        """Compute in what a GPU is fastest in, unless the config says otherwise."""
        resources = info.data.get("resources")
        if "dtype" in model.model_fields_set or not (resources and resources.gpus_per_worker):
            return model
        return model.model_copy(update={"dtype": "bfloat16"})

    @field_validator("search")
    @classmethod
    def _resolve_sampler(cls, search: SearchSettings, info: ValidationInfo) -> SearchSettings:
        """Search branches by TPE, since a Gaussian process cannot, unless the config says otherwise."""
        space = info.data.get("space")
        if "sampler" in search.model_fields_set or space is None:
            return search
        try:
            branched = load_space(space).is_conditional
        except SpaceError:
            return search  # `search_space` says what is wrong with it
        return search.model_copy(update={"sampler": "tpe"}) if branched else search

    @field_validator("selection")
    @classmethod
    def _resolve_confirmation(
        cls, selection: SelectionSettings, info: ValidationInfo
    ) -> SelectionSettings:
        """Confirm the best points of the presets for work, unless the config says otherwise."""
        if "confirm" in selection.model_fields_set or info.data.get("space") not in _CONFIRMED:
            return selection
        return selection.model_copy(update={"confirm": ConfirmSettings()})

    @model_validator(mode="after")
    def _consistent(self) -> SweepConfig:
        _check_space(self.search_space, self.model.adapter is not None)
        if self.search.sampler == "gp" and self.search_space.is_conditional:
            raise ValueError(
                "search.sampler: gp cannot search branches; use tpe, or one flat space"
            )
        if self.export.dtype is None and self.model.adapter is None:
            raise ValueError(
                "export.dtype: null stores the adapter alone, and model.adapter is null; use auto"
            )
        rest = self.training.batch_pairs % self.resources.workers
        if rest:
            raise ValueError(
                f"training.batch_pairs: {self.training.batch_pairs} pairs cannot be divided evenly "
                f"among {self.resources.workers} workers; use a multiple of {self.resources.workers}"
            )
        return self

    @property
    def planned_trials(self) -> int:
        """Number of trials of the search: no point of a finite space is trained twice."""
        return min(self.search.trials, self.search_space.size or self.search.trials)

    @property
    def shortage(self) -> str | None:
        """Reason why the search ends before `search.trials`; None where it does not."""
        if self.planned_trials == self.search.trials:
            return None
        return (
            f"search.trials: the space has {counted(self.planned_trials, 'point')}, and none is "
            f"trained twice with one seed; the search ends after {self.planned_trials} of "
            f"{self.search.trials} trials"
        )

    @cached_property
    def search_space(self) -> Space:
        """Raises ValueError on a space that contradicts itself."""
        try:
            return load_space(self.space)
        except SpaceError as error:
            raise ValueError(f"space: {error}") from None


def _check_space(space: Space, has_adapter: bool) -> None:
    unknown = sorted(set(space.names) - set(HYPERPARAM_NAMES))
    if unknown:
        raise ValueError(
            f"space.{unknown[0]}: is no DPO hyperparameter; {suggestion(unknown[0], HYPERPARAM_NAMES)}"
        )
    if "lora_rank" in space.names and not has_adapter:
        raise ValueError("space.lora_rank: there is no adapter; set model.adapter or drop the axis")
    rng = random.Random(0)
    for _ in range(_PROBES):
        point = space.sample(lambda key, axis: _probe(rng, axis))
        try:
            DPOHyperparams.from_point(point)
        except SettingsError as error:
            raise ValueError(f"space.{error}") from None


def _probe(rng: random.Random, axis: Axis) -> Scalar:
    """Ends and choices of an axis: where a point that breaks a rule would be found."""
    if isinstance(axis, LogUniform | Uniform):
        return rng.choice((axis.low, axis.high))
    return rng.choice(axis.values)
