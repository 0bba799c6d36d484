"""Data sets that the README of a folder or hub repository names, with the files of their splits.

    ---
    configs:
    - config_name: helpful
      data_files:
      - split: train
        path: helpful/train-*
    ---

A README is data of its author, not of the person who runs a sweep: it names files beside itself and no
others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import yaml

from dpo_core.errors import DataError
from dpo_core.preferences.messages import preview

README = "README.md"
MAX_README_BYTES = 2**20
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", re.DOTALL)


@dataclass(frozen=True)
class NamedDataSet:
    """A data set that a README names."""

    name: str
    is_default: bool
    patterns: Mapping[str, tuple[str, ...]]
    """Patterns of the files of each split."""


def named_data_sets(readme: str, where: str) -> list[NamedDataSet]:
    """Return the data sets that a README names together with their files.

    Raises:
        DataError: It names files that are not beside it, or in a way that cannot be read.
    """
    match = _FRONT_MATTER.match(readme)
    if match is None or "configs" not in match[1]:
        return []
    try:
        head = yaml.safe_load(match[1])
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{where}: the YAML at its start cannot be read ({reason}); correct it, or name the files "
            "by `data_files`"
        ) from None
    configs = head.get("configs") if isinstance(head, dict) else None
    if configs is None:
        return []
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        raise _not_understood(configs, where)
    return [_data_set(config, where) for config in configs if config.get("data_files")]


def check_pattern(pattern: object, where: str) -> str:
    """Return a pattern of files.

    Raises:
        DataError: It may match a file that is not in the folder; the error begins with `where`.
    """
    if not isinstance(pattern, str):
        raise _not_understood(pattern, where)
    path = PurePosixPath(pattern)
    if not pattern or path.is_absolute() or ".." in path.parts or re.search(r"[:\\~\0]", pattern):
        raise DataError(
            f"{where}: names {preview(pattern)}, which is no file of this folder; name files by their "
            "place in the folder, such as data/train.jsonl"
        )
    return str(path)


def _data_set(config: Mapping[object, object], where: str) -> NamedDataSet:
    patterns: dict[str, list[str]] = {}
    for split, pattern in _split_patterns(config["data_files"], where):
        if not isinstance(split, str):
            raise _not_understood(config, where)
        folder = config.get("data_dir") or ""
        whole = f"{folder}/{pattern}" if folder and isinstance(pattern, str) else pattern
        patterns.setdefault(split, []).append(check_pattern(whole, where))
    return NamedDataSet(
        str(config.get("config_name", "default")),
        config.get("default") is True,
        {split: tuple(each) for split, each in patterns.items()},
    )


def _split_patterns(data_files: object, where: str) -> Iterable[tuple[object, object]]:
    """Yield the split and the pattern of each entry, in whichever way they are written."""
    if isinstance(data_files, dict):
        entries: list[tuple[object, object]] = list(data_files.items())
    elif isinstance(data_files, list) and all(isinstance(entry, dict) for entry in data_files):
        entries = [(entry.get("split", "train"), entry.get("path")) for entry in data_files]
    else:
        entries = [("train", data_files)]
    for split, patterns in entries:
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            yield split, pattern


def _not_understood(value: object, where: str) -> DataError:
    return DataError(
        f"{where}: {preview(value)} in the YAML at its start does not say which files make a data set; "
        "correct it, or name the files by `data_files`"
    )
