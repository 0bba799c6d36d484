"""Reads a sweep's YAML, applies `--set` overrides, and reports every mistake in one line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dpo_core.errors import SettingsError
from sweeps.config.mistakes import describe_mistakes
from sweeps.config.schema import SweepConfig
from sweeps.config.secrets import holds_secret
from sweeps.config.strict_yaml import load_yaml

Tree = dict[str, Any]
"""A mapping of YAML: plain values, lists and mappings by key."""


def load_sweep(path: str | Path, overrides: Iterable[str] = ()) -> SweepConfig:
    """Read a sweep's YAML, apply overrides (`a.b=value`, the value in YAML) and check it.

    Raises:
        SettingsError: the file cannot be read, or breaks a rule; one line for each mistake.
    """
    return config_of(read_tree(path, overrides), source=str(path))


def read_tree(path: str | Path, overrides: Iterable[str] = ()) -> Tree:
    """Read a sweep's YAML and apply overrides; its keys are those that were written, unchecked.

    Raises:
        SettingsError: the file cannot be read, or is no mapping.
    """
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
    return _parse_tree(text, source=source, overrides=overrides)


def parse_sweep(text: str, *, source: str, overrides: Iterable[str] = ()) -> SweepConfig:
    """Parse a sweep's YAML, apply overrides and check it.

    Args:
        text: the YAML.
        source: the name of the file, for messages.
        overrides: `key.key=value` each, the value in YAML.

    Returns:
        The sweep.

    Raises:
        SettingsError: it breaks a rule; one line for each mistake.
    """
    return config_of(_parse_tree(text, source=source, overrides=overrides), source=source)


def config_of(tree: Tree, *, source: str) -> SweepConfig:
    """Check a sweep's keys. Raises SettingsError with one line for each mistake."""
    _refuse_secrets(tree, source)
    try:
        return SweepConfig(**tree)
    except ValidationError as error:
        raise SettingsError("\n".join(describe_mistakes(error, source))) from None


def override(tree: Tree, overrides: Iterable[str]) -> None:
    """Set `key.key=value` each in `tree`, the value in YAML. Raises SettingsError."""
    for assignment in overrides:
        _override(tree, assignment)


def _parse_tree(text: str, *, source: str, overrides: Iterable[str]) -> Tree:
    try:
        tree = load_yaml(text, source=source)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    if not isinstance(tree, dict):
        raise SettingsError(
            f"{source}: holds a {type(tree).__name__}; a sweep is a mapping of keys"
        )
    override(tree, overrides)
    return tree


def _refuse_secrets(value: object, location: str) -> None:
    """Refuse secrets: the config is copied into the run directory and shown by the dashboard."""
    if isinstance(value, dict):
        for key, inner in value.items():
            separator = "." if ": " in location else ": "
            _refuse_secrets(inner, f"{location}{separator}{key}")
    elif isinstance(value, list):
        for inner in value:
            _refuse_secrets(inner, location)
    elif isinstance(value, str) and holds_secret(value):
        raise SettingsError(
            f"{location}: holds what looks like a password or token, and a config is no place for it; "
            "give it by the environment (PGPASSWORD, MLFLOW_TRACKING_PASSWORD, HF_TOKEN, …), or in a "
            "file that only the nodes have"
        )


def _override(tree: Tree, assignment: str) -> None:
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


def resolved(config: SweepConfig, storage: str) -> Tree:
    """Return plain data that `parse_sweep` reads back in any folder.

    Local paths are absolute, and defaults are written out.
    """
    tree = config.model_dump(mode="json")
    for part, key in path_slots(tree):
        path = Path(part[key] or "").expanduser()
        if part[key] and path.exists():
            part[key] = str(path.resolve())
    return {**tree, "storage": storage}


def path_slots(tree: Tree) -> list[tuple[Tree, str]]:
    """Return where a whole config names files and folders: each mapping and its key."""
    slots = [(tree["model"], "path"), (tree["selection"], "incumbent")]
    slots += [(tree["data"], key) for key in ("path", "select_path", "final_path")]
    return slots + [(source, "path") for source in tree["data"]["sources"]]
