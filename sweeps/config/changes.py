"""Changes of a config once its sweep has begun: one table for all commands that go on.

A key may change where the trials that have ended keep their meaning: how many more are run, with what,
what is printed, how the winner is chosen. Any other change would compare trials that differ in more
than their points, so it is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel

from dpo_core.errors import SettingsError
from sweeps.config.keys import settings_in
from sweeps.config.load import Tree, config_of, override, path_slots, resolved
from sweeps.config.schema import SweepConfig

Stage = Literal["prepare", "search", "select"]
"""How far a sweep is that goes on: not prepared yet, so nothing was trained; prepared; or all trials
have ended and the choice alone is made again."""


class Change(NamedTuple):
    """A key whose value differs, with both values as plain data."""

    key: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.key}: {self.shown_old} -> {self.shown_new}"

    @property
    def shown_old(self) -> str:
        return in_words(self.old)

    @property
    def shown_new(self) -> str:
        return in_words(self.new)


@dataclass(frozen=True)
class _Rule:
    """The stages at which a key may change, and why not at the others."""

    stages: tuple[Stage, ...]
    why_not: str


def _before_trials(why_not: str) -> _Rule:
    return _Rule(("prepare",), why_not)


_TRIALS_DIFFER = _before_trials("trials before and after the change could not be compared")
_WHILE_TRIALS_RUN = _Rule(("prepare", "search"), "the trials have run")
_ANY_TIME = _Rule(("prepare", "search", "select"), "")

RULES: Mapping[str, _Rule] = {
    "name": _Rule((), "it begins the name of the run directory"),
    "seed": _before_trials("splits, adapters and points were drawn from it"),
    "storage": _Rule((), "a sweep goes on where its folder is, which you may move"),
    "resources": _WHILE_TRIALS_RUN,
    "model": _TRIALS_DIFFER,
    "data": _TRIALS_DIFFER,
    "data.quiet_findings": _WHILE_TRIALS_RUN,
    "space": _before_trials("the search learns from points of the old space"),
    "training": _TRIALS_DIFFER,
    "search.sampler": _WHILE_TRIALS_RUN,
    "search.objectives": _before_trials("the sweep's study has the old objectives"),
    "search.trials": _WHILE_TRIALS_RUN,
    "search.concurrent": _WHILE_TRIALS_RUN,
    "search.scheduler": _WHILE_TRIALS_RUN,
    "search.retries": _WHILE_TRIALS_RUN,
    "search.study": _WHILE_TRIALS_RUN,
    "selection": _ANY_TIME,
    "selection.score_dtype": _before_trials("held-out pairs were scored when they were evaluated"),
    "export": _ANY_TIME,
    "trackers": _WHILE_TRIALS_RUN,
    "nightly": _WHILE_TRIALS_RUN,
}
"""The rule of each key, or of all keys below it; the longest name counts. A key without a rule may not
change once trials have run."""


def changed_by_file(stored: SweepConfig, tree: Tree, *, source: str) -> SweepConfig:
    """Return the config with which a prepared sweep goes on, by a YAML file that is given again.

    Keys that the file leaves out keep the sweep's own values, which may have been derived.

    Args:
        stored: The sweep's config.
        tree: The keys that were written: the file's with `--set` applied.
        source: The name of the file, for messages.

    Returns:
        The stored config with what may change.

    Raises:
        SettingsError: A key differs that may not change, or breaks a rule; a line for each.
    """
    config = config_of(tree, source=source)
    # The sweep was looked up in the file's storage, which may have another name on another machine.
    written = [key for key in _written_keys(tree) if key != "storage"]
    return _changed(stored, config, written, source=source, stage="search")


def left_out(stored: SweepConfig, tree: Tree, *, source: str) -> list[Change]:
    """Return the keys that a file leaves out and whose defaults are not what the sweep has.

    Args:
        stored: The sweep's config.
        tree: The keys that were written.
        source: The name of the file, for messages.

    Returns:
        Each with the sweep's value, which stays, and the one that a new sweep would have.
    """
    written = set(_written_keys(tree))
    changes = config_changes(stored, config_of(tree, source=source))
    return [change for change in changes if change.key not in written]


def changed_by_overrides(
    stored: SweepConfig, overrides: Sequence[str], *, source: str, stage: Stage
) -> SweepConfig:
    """Return the config with which a sweep goes on, by `--set` alone.

    Args:
        stored: The sweep's config.
        overrides: `key.key=value` each, the value in YAML.
        source: The name of the config's file, for messages.
        stage: How far the sweep is.

    Returns:
        The stored config with what may change.

    Raises:
        SettingsError: A key differs that may not change, or breaks a rule; a line for each.
    """
    written: Tree = {}
    override(written, overrides)
    whole = resolved(stored, stored.storage)
    override(whole, overrides)
    config = config_of(whole, source=source)
    return _changed(stored, config, list(_written_keys(written)), source=source, stage=stage)


def config_changes(before: SweepConfig, after: SweepConfig) -> list[Change]:
    """Return the keys whose values differ, but for the storage."""
    old, new = (resolved(config, "") for config in (before, after))
    return _differences(old, new, dict.fromkeys([*_written_keys(old), *_written_keys(new)]))


def may_change(key: str, stage: Stage) -> bool:
    """Return whether a key, such as `search.trials`, may change at a stage."""
    return stage in _rule(key).stages


def in_words(value: object) -> str:
    """Return a key's value as it is shown."""
    return "null" if value is None else str(value)


def _changed(
    stored: SweepConfig, config: SweepConfig, written: Sequence[str], *, source: str, stage: Stage
) -> SweepConfig:
    old, new = resolved(stored, stored.storage), resolved(config, config.storage)
    _keep_moved_paths(config.model_dump(mode="json"), new, old)
    changes = _differences(old, new, written)
    refused = [change for change in changes if not may_change(change.key, stage)]
    if refused:
        raise SettingsError("\n".join(_refusal(each, source) for each in refused))
    for change in changes:
        _put(old, change)
    return config_of(old, source=source) if changes else stored


def _refusal(change: Change, source: str) -> str:
    return (
        f"{source}: {change.key}: is {change.shown_old} in this sweep and cannot become "
        f"{change.shown_new}, since {_rule(change.key).why_not}; leave it as it is, or start a new "
        "sweep"
    )


def _rule(key: str) -> _Rule:
    parts = key.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((RULES[name] for name in names if name in RULES), _TRIALS_DIFFER)


def _written_keys(
    tree: Tree, model: type[BaseModel] | None = SweepConfig, prefix: str = ""
) -> Iterator[str]:
    """Yield the keys of a config's tree down to plain values, lists and free mappings."""
    for name, value in tree.items():
        field = model.model_fields.get(name) if model else None
        inner = settings_in(field.annotation) if field else None
        if inner and isinstance(value, dict) and value:
            yield from _written_keys(value, inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _differences(old: Tree, new: Tree, keys: Sequence[str] | Mapping[str, None]) -> list[Change]:
    """Compare the values of keys; one that a newer version has renamed is compared with its group."""
    whole = dict.fromkeys(_nearest(new, key) for key in keys)
    changes = (Change(key, _value(old, key), _value(new, key)) for key in whole)
    return [change for change in changes if change.old != change.new]


def _nearest(tree: Tree, key: str) -> str:
    """Return the longest beginning of a key that the tree has."""
    parts: list[str] = []
    value: object = tree
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            break
        parts.append(part)
        value = value[part]
    return ".".join(parts) or key


def _value(tree: Tree, key: str) -> object:
    value: object = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _put(tree: Tree, change: Change) -> None:
    *groups, last = change.key.split(".")
    for group in groups:
        tree = tree[group]
    tree[last] = copy.deepcopy(change.new)


def _keep_moved_paths(written: Tree, new: Tree, old: Tree) -> None:
    """Take a relative path for the stored one that ends with it: folders of jobs have many names.

    The run directory holds what was read from there.
    """
    slots = zip(path_slots(written), path_slots(new), path_slots(old), strict=False)
    for (as_written, key), (absolute, _), (stored, _) in slots:
        parts = Path(as_written[key] or "").parts
        if parts and Path(stored[key] or "").parts[-len(parts) :] == parts:
            absolute[key] = stored[key]
