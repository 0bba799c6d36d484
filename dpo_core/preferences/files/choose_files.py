"""Chooses the files of a folder or hub repository that a source reads, by their names alone.

Each file belongs to a data set and to a split. The README says which, or the names do:

| name | data set | split |
|---|---|---|
| `train-00000-of-00002.parquet`, `data/train/0.jsonl` | of the whole folder | `train` |
| `helpful/test.jsonl`, `helpful-test.jsonl` | `helpful` | `test` |
| `helpful.jsonl`, `helpful-1.jsonl` | `helpful` | none, so all is `train` |

Several data sets are never read as one unless the source names their files.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dpo_core.errors import DataError
from dpo_core.preferences.files.formats import ENDINGS, reader_of, without_ending
from dpo_core.preferences.files.readme import NamedDataSet, check_pattern
from dpo_core.settings import ReadingSettings

_WORDS = "train|training|test|testing|validation|valid|val|dev|eval|evaluation"
_SPLIT = re.compile(rf"({_WORDS})([-_.].*)?")
_DATA_SET_AND_SPLIT = re.compile(rf"(?P<data_set>.+)[-_.](?P<split>{_WORDS})")
_SHARD = re.compile(r"(?P<name>.*?)(?:(?:^|[-_.])\d+([-_]of[-_]\d+)?(-[0-9a-f]{16})?)?")
_OF = re.compile(r"(?P<number>\d+)[-_]of[-_](?P<count>\d+)(-[0-9a-f]{16})?$")
_DESCRIPTIONS = frozenset(
    {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"}
)
_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[[^]/]+\]|.", re.DOTALL)
_WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_MOST_NAMES = 10


@dataclass(frozen=True)
class _File:
    name: str
    """With the folders it is in."""
    data_set: str
    """Empty where its name is that of its split."""
    split: str | None


def choose_files(
    names: Iterable[str], named: Sequence[NamedDataSet], reading: ReadingSettings, where: str
) -> list[str]:
    """Choose the files to read.

    Args:
        names: Every file, relative to the folder, with `/` between folders.
        named: The data sets that the README names.
        reading: The keys of the source.
        where: The folder or repository, which begins every error message.

    Returns:
        Names in their order.

    Raises:
        DataError: No file is what the source asks for, or files of several data sets are.
    """
    files = sorted(name for name in names if _is_data(name))
    if not files:
        raise DataError(f"{where}: holds no data file ({ENDINGS}); give a folder or file that does")
    if reading.data_files:
        return _by_patterns(files, reading.data_files, where)
    by_readme = {data_set.name: data_set for data_set in named}
    if reading.subset in by_readme or (named and reading.subset is None):
        chosen = _by_readme(files, by_readme, reading, where)
    else:
        chosen = _by_name(files, reading, where)
    _check_shards(chosen, where)
    return chosen


def _is_data(name: str) -> bool:
    parts = PurePosixPath(name).parts
    is_hidden = any(part.startswith(".") for part in parts)
    return not is_hidden and parts[-1] not in _DESCRIPTIONS and reader_of(parts[-1]) is not None


def _by_patterns(files: list[str], patterns: str | list[str], where: str) -> list[str]:
    chosen: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matching = _matching(files, check_pattern(pattern, f"{where}: `data_files`"))
        if not matching:
            raise DataError(
                f"{where}: no data file is called {pattern!r} (found: {_listed(files)}); correct "
                "`data_files`"
            )
        chosen |= {*matching}
    return sorted(chosen)


def _matching(files: Iterable[str], pattern: str) -> list[str]:
    """Return the files that a pattern matches.

    `**/` stands for any folders, `*` and `?` for characters of one name, `[0-9]` for one of them.
    """
    parts = [
        _WILDCARDS.get(token) or (token if token[0] == "[" and len(token) > 1 else re.escape(token))
        for token in _TOKENS.findall(pattern)
    ]
    try:
        expression = re.compile("".join(parts))
    except re.error:
        return []
    return [name for name in files if expression.fullmatch(name)]


# By the README


def _by_readme(
    files: list[str], named: dict[str, NamedDataSet], reading: ReadingSettings, where: str
) -> list[str]:
    data_set = _of_readme(named, reading, where)
    patterns = data_set.patterns.get(reading.split)
    if patterns is None:
        raise _no_split(reading.split, data_set.patterns, where)
    chosen = {name for pattern in patterns for name in _matching(files, pattern)}
    if not chosen:
        raise DataError(
            f"{where}: no data file is called {_listed(patterns)}, as its README says of split "
            f"{reading.split!r}; name the files by `data_files`"
        )
    return sorted(chosen)


def _of_readme(
    named: dict[str, NamedDataSet], reading: ReadingSettings, where: str
) -> NamedDataSet:
    if reading.subset is not None:
        return named[reading.subset]
    default = [each for each in named.values() if each.is_default or len(named) == 1]
    if default:
        return default[0]
    if "default" in named:
        return named["default"]
    raise _several(named, where)


# By name


def _by_name(names: list[str], reading: ReadingSettings, where: str) -> list[str]:
    files = [_file(name) for name in names]
    if reading.subset is not None:
        files = _of_subset(files, reading.subset, where)
    elif any("/" not in file.name for file in files):
        # A folder with data of its own may have others beside it, such as results of sweeps.
        files = [file for file in files if "/" not in file.name]
    splits = sorted({file.split for file in files if file.split is not None})
    if splits:
        files = [file for file in files if file.split == reading.split]
    if not files or (not splits and reading.split != "train"):
        raise _no_split(reading.split, splits or names, where)
    whole = [file for file in files if not file.data_set]
    files = whole or files
    if len({file.data_set for file in files}) > 1:
        raise _several({file.data_set for file in files}, where)
    return [file.name for file in files]


def _file(name: str) -> _File:
    *folders, last = PurePosixPath(name).parts
    stem = without_ending(last)
    shard = _SHARD.fullmatch(stem)
    own = shard["name"] if shard else stem
    split, data_set = None, own
    both = _DATA_SET_AND_SPLIT.fullmatch(own)
    if _SPLIT.fullmatch(own):
        split, data_set = own, ""
    elif both:
        split, data_set = both["split"], both["data_set"]
    in_folder = next((folder for folder in folders if _SPLIT.fullmatch(folder)), None)
    if split is None and in_folder is not None:
        split, data_set = in_folder, ""
    folders = [folder for folder in folders if folder != in_folder]
    if folders[:1] == ["data"]:
        folders = folders[1:]
    return _File(name, "/".join([*folders, data_set] if data_set else folders), split)


def _of_subset(files: list[_File], subset: str, where: str) -> list[_File]:
    inside = [file for file in files if file.data_set.startswith(f"{subset}/")]
    same = [file for file in files if file.data_set == subset]
    if not same and not inside:
        data_sets = sorted({file.data_set for file in files if file.data_set})
        raise DataError(
            f"{where}: holds no data set {subset!r} (found: {_listed(data_sets) or 'none by name'}); "
            "correct `subset`"
        )
    return same or inside


def _check_shards(names: list[str], where: str) -> None:
    """Raise DataError if one of the files that make up a whole is missing."""
    numbers: dict[tuple[str, int], set[int]] = defaultdict(set)
    for name in names:
        path = PurePosixPath(name)
        match = _OF.search(without_ending(path.name))
        if match:
            start = str(path.with_name(path.name[: match.start()] or path.name))
            numbers[start, int(match["count"])].add(int(match["number"]))
    for (start, count), present in numbers.items():
        if len(present) < count:
            raise DataError(
                f"{where}: has {len(present)} of the {count} files {start}…-of-{count:05}; add the "
                "others, or name those to read by `data_files`"
            )


# Errors


def _no_split(split: str, present: Iterable[str], where: str) -> DataError:
    return DataError(f"{where}: no split {split!r} (found: {_listed(present)}); set `split`")


def _several(data_sets: Iterable[str], where: str) -> DataError:
    return DataError(
        f"{where}: holds several data sets ({_listed(sorted(data_sets))}), which are not read as one; "
        "set `subset` to one of them, give each an entry of `data.sources`, or name the files to read "
        "together by `data_files`"
    )


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _MOST_NAMES} more" if len(every) > _MOST_NAMES else ""
    return ", ".join(every[:_MOST_NAMES]) + more
