"""A sweep as its author wrote it: YAML to a checked, frozen `SweepConfig`. Neither torch nor ray.

`load_sweep(path, overrides)` is the only way in; every complaint is one readable line a problem.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from dpo_core.errors import SettingsError
from dpo_core.hyperparams import HYPERPARAM_NAMES, DPOHyperparams
from dpo_core.settings import DataSettings, ModelSettings, Settings, TrainingSettings
from search_spaces import LogUniform, Space, SpaceError, Uniform, load_space
from sweeps.config.nightly import NightSettings
from sweeps.config.secrets import holds_secret
from sweeps.config.selection import SelectionSettings
from sweeps.config.strict_yaml import load_yaml
from sweeps.config.study import check_study_url
from sweeps.config.trackers import TrackerSettings

NAME = r"^[a-z0-9][-a-z0-9]{0,40}$"
_PROBES = 64
_CONFIRMED_PRESETS = ("lora", "full")


class SearchSettings(Settings):
    """How points are chosen and how many trials run."""

    sampler: Literal["tpe", "gp", "nsga2", "random"] = "tpe"
    """`gp`: noise-aware Gaussian process, for spaces without branches; `nsga2`: genetic, for two
    objectives."""
    objectives: list[Literal["accuracy", "drift"]] = Field(["accuracy"])
    """With `drift` the search looks for the front of accuracy against drift per token."""
    trials: int = Field(8, ge=1)
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
    """What one trial gets from Ray."""

    workers: int = Field(1, ge=1)
    cpus_per_worker: float = Field(1, gt=0)
    gpus_per_worker: float = Field(0, ge=0)
    lanes: bool = True
    """Worker groups stay up between trials, instead of one `TorchTrainer` a trial."""
    trials_per_lane: int | None = Field(None, ge=1)
    """A lane is replaced after so many trials; null: never."""
    driver_resource: str | None = Field(None, pattern=r"^[A-Za-z][-\w]*$")
    """A custom resource of the nodes that must run trials' drivers, such as nodes off spot."""
    autoscaling: bool = False
    """The cluster grows on demand, so what it has now says nothing about what it can have."""


class SweepConfig(Settings):
    """One sweep. Every key is described in the README."""

    name: str = Field(pattern=NAME)
    seed: int = Field(0, ge=0)
    storage: str = "runs"
    model: ModelSettings
    data: DataSettings
    space: str | dict[str, Any]
    training: TrainingSettings
    search: SearchSettings = SearchSettings()
    selection: SelectionSettings = SelectionSettings()
    resources: ResourceSettings = ResourceSettings()
    trackers: TrackerSettings = TrackerSettings()
    nightly: NightSettings = NightSettings()

    @field_validator("storage")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("an empty name; give a folder or a URI")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> SweepConfig:
        _check_space(self.search_space, self.model.adapter is not None)
        if self.search.sampler == "gp" and self.search_space.is_conditional:
            raise ValueError(
                "search.sampler: gp cannot search branches; use tpe, or one flat space"
            )
        rest = self.training.batch_pairs % self.resources.workers
        if rest:
            raise ValueError(
                f"training.batch_pairs: {self.training.batch_pairs} pairs cannot be dealt evenly to "
                f"{self.resources.workers} workers; use a multiple of {self.resources.workers}"
            )
        return self

    @cached_property
    def search_space(self) -> Space:
        """Raises ValueError on a space that contradicts itself."""
        try:
            return load_space(self.space)
        except SpaceError as error:
            raise ValueError(f"space: {error}") from None


def load_sweep(path: str | Path, overrides: Iterable[str] = ()) -> SweepConfig:
    """Read, override (`a.b=value`, value in YAML) and check. Raises SettingsError."""
    source = str(path)
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{source}: no such file; give the path of a sweep's YAML") from None
    except IsADirectoryError:
        raise SettingsError(f"{source}: is a folder; give the path of a sweep's YAML") from None
    except OSError as error:
        raise SettingsError(
            f"{source}: cannot be read ({error.strerror}); give the path of a sweep's YAML"
        ) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{source}: byte {error.start} is no UTF-8; save it as UTF-8") from None
    return parse_sweep(text, source=source, overrides=overrides)


def parse_sweep(text: str, *, source: str, overrides: Iterable[str] = ()) -> SweepConfig:
    try:
        tree = load_yaml(text, source=source)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    if not isinstance(tree, dict):
        raise SettingsError(
            f"{source}: holds a {type(tree).__name__}; a sweep is a mapping of keys"
        )
    for override in overrides:
        _override(tree, override)
    _refuse_secrets(tree, source)
    _fill_in_dtype(tree)
    _fill_in_confirmation(tree)
    try:
        return SweepConfig(**tree)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaints(error, source))) from None


def _refuse_secrets(value: Any, place: str) -> None:
    """A config is copied into the sweep's folder and shown by the dashboard."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_secrets(inner, f"{place}: {key}" if ": " not in place else f"{place}.{key}")
    elif isinstance(value, list):
        for inner in value:
            _refuse_secrets(inner, place)
    elif isinstance(value, str) and holds_secret(value):
        raise SettingsError(
            f"{place}: holds what looks like a password or token, and a config is no place for it; "
            "give it by the environment (PGPASSWORD, MLFLOW_TRACKING_PASSWORD, HF_TOKEN, …), or in a "
            "file that only the nodes have"
        )


def _fill_in_dtype(tree: dict[str, Any]) -> None:
    """What a GPU computes fastest in, and what a CPU does. Anything malformed is left to pydantic."""
    model, resources = tree.get("model"), tree.get("resources")
    gpus = resources.get("gpus_per_worker", 0) if isinstance(resources, dict) else 0
    if isinstance(model, dict):
        model.setdefault("dtype", "bfloat16" if gpus else "float32")


def _fill_in_confirmation(tree: dict[str, Any]) -> None:
    """3 points with 3 seeds for the presets that are meant for work, none for the demo or own axes."""
    selection = tree.setdefault("selection", {})
    if tree.get("space") in _CONFIRMED_PRESETS and isinstance(selection, dict):
        selection.setdefault("confirm", {})


def _override(tree: dict[str, Any], assignment: str) -> None:
    name, equals, text = assignment.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise SettingsError(f"--set {assignment}: is not of the form key.key=value")
    try:
        empty = text.strip() in ("", "~", "null", "Null", "NULL")
        value = None if empty else load_yaml(text, source=f"--set {name}")
    except ValueError as error:
        raise SettingsError(str(error)) from None
    for key in keys[:-1]:
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"--set {name}: {key} is no mapping, so nothing can be set in it")
        tree = inner
    tree[keys[-1]] = value


def _check_space(space: Space, has_adapter: bool) -> None:
    unknown = sorted(set(space.names) - set(HYPERPARAM_NAMES))
    if unknown:
        raise ValueError(
            f"space.{unknown[0]}: is no DPO hyperparameter; use {', '.join(HYPERPARAM_NAMES)}"
        )
    if "lora_rank" in space.names and not has_adapter:
        raise ValueError("space.lora_rank: there is no adapter; set model.adapter or drop the axis")
    rng = random.Random(0)
    for _ in range(_PROBES):
        point = space.sample(lambda key, axis: _probe(rng, axis))
        try:
            DPOHyperparams.from_point(point)
        except (SettingsError, TypeError) as error:
            raise ValueError(f"space: a sampled point is no DPO point: {error}") from None


def _probe(rng: random.Random, axis: Any) -> Any:
    """Ends and choices of an axis: where a point that breaks a rule would be found."""
    if isinstance(axis, LogUniform | Uniform):
        return rng.choice((axis.low, axis.high))
    return rng.choice(axis.values)


def _complaints(error: ValidationError, source: str) -> Iterable[str]:
    for problem in error.errors():
        where = ".".join(
            str(part) for part in problem["loc"] if part not in ("str", "dict[str,any]")
        )
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"is an unknown key; known are {', '.join(_siblings(problem['loc']))}"
        elif problem["type"] == "missing":
            message = "is missing and has no default"
        elif not problem["type"].startswith("value_error"):
            message = f"{problem['input']!r}: {message}"
        yield f"{source}: {where}: {message}" if where else f"{source}: {message}"


def _siblings(loc: tuple[int | str, ...]) -> list[str]:
    model: Any = SweepConfig
    for part in loc[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        model = _model_of(field.annotation) if field else None
    return sorted(getattr(model, "model_fields", {}))


def _model_of(annotation: Any) -> Any:
    options = getattr(annotation, "__args__", (annotation,))
    return next((o for o in options if hasattr(o, "model_fields")), None)


def resolved(config: SweepConfig, storage: str) -> dict[str, Any]:
    """Plain data that `parse_sweep` reads back anywhere: local paths absolute, defaults filled in."""
    tree = config.model_dump(mode="json")
    parts = [(part, "path") for part in (tree["model"], tree["data"], *tree["data"]["sources"])]
    parts += [(tree["data"], "select_path"), (tree["data"], "final_path")]
    for part, key in [*parts, (tree["selection"], "incumbent")]:
        path = Path(part[key] or "").expanduser()
        if part[key] and path.exists():
            part[key] = str(path.resolve())
    return {**tree, "storage": storage}
