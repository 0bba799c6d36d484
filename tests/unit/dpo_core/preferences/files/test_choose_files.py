"""Of the names in a folder, those that a source asks for are chosen, and never two data sets at once."""

from __future__ import annotations

from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences.files.choose_files import choose_files
from dpo_core.preferences.files.readme import NamedDataSet
from dpo_core.settings import ReadingSettings

HELPFUL = ["helpful-base/test.jsonl.gz", "helpful-base/train.jsonl.gz"]
HARMLESS = ["harmless-base/test.jsonl.gz", "harmless-base/train.jsonl.gz"]
TEAM = ["red-team-attempts/red_team_attempts.jsonl.gz"]
SEVERAL = (
    "pets: holds several data sets ({}), which are not read as one; set `subset` to one of them, give "
    "each an entry of `data.sources`, or name the files to read together by `data_files`"
)


def choose(names: list[str], *named: NamedDataSet, **reading: Any) -> list[str]:
    return choose_files(names, named, ReadingSettings(**reading), "pets")


def refused(names: list[str], *named: NamedDataSet, **reading: Any) -> str:
    with pytest.raises(DataError) as caught:
        choose(names, *named, **reading)
    message = str(caught.value)
    assert message.startswith("pets: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("names", "split", "chosen"),
    [
        (["pairs.jsonl"], "train", ["pairs.jsonl"]),
        (["a-1.jsonl", "a-0.jsonl"], "train", ["a-0.jsonl", "a-1.jsonl"]),
        (["0000.parquet", "0001.parquet"], "train", ["0000.parquet", "0001.parquet"]),
        (["train.jsonl", "test.jsonl", "README.md"], "train", ["train.jsonl"]),
        (["train.jsonl", "test.jsonl", "notes.json"], "test", ["test.jsonl"]),
        (["data/train-00000-of-00001-b42a775f407cee45.parquet"], "train", None),
        (["data/train_prefs-00000-of-00001.parquet", "data/test.parquet"], "train_prefs", None),
        (["default/train/0000.parquet", "default/test/0000.parquet"], "test", None),
        (["pairs-train.csv", "pairs-test.csv"], "train", ["pairs-train.csv"]),
        ([*HELPFUL, ".cache/x/train.jsonl", "dataset_infos.json"], "test", HELPFUL[:1]),
        (["pairs.jsonl", "runs/outcomes/a.parquet", "runs/b/c.jsonl"], "train", ["pairs.jsonl"]),
    ],
)
def test_names_that_say_what_belongs_together(
    names: list[str], split: str, chosen: list[str] | None
) -> None:
    expected = [name for name in names if split in name] if chosen is None else chosen
    assert choose(names, split=split) == expected


def test_several_data_sets_are_not_poured_together() -> None:
    expected = SEVERAL.format("harmless-base, helpful-base")
    assert refused(HELPFUL + HARMLESS + TEAM) == expected
    assert refused(["helpful.jsonl", "harmless.jsonl"]) == SEVERAL.format("harmless, helpful")
    assert refused(["helpful-train.jsonl", "harmless-train.jsonl"]) == (
        SEVERAL.format("harmless, helpful")
    )


def test_each_of_several_by_its_name() -> None:
    every = HELPFUL + HARMLESS + TEAM
    assert choose(every, subset="helpful-base") == HELPFUL[1:]
    assert choose(every, subset="harmless-base", split="test") == HARMLESS[:1]
    assert choose(every, subset="red-team-attempts") == TEAM
    assert choose(["helpful.jsonl", "harmless.jsonl"], subset="helpful") == ["helpful.jsonl"]
    assert refused(every, subset="helpful") == (
        "pets: holds no data set 'helpful' (found: harmless-base, helpful-base, "
        "red-team-attempts/red_team_attempts); correct `subset`"
    )


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("*/train.jsonl.gz", [HARMLESS[1], HELPFUL[1]]),
        ("**/train.*", [HARMLESS[1], HELPFUL[1]]),
        ([HELPFUL[0], "h[e]lpful-base/*"], HELPFUL),
        ("./helpful-base/t?st.jsonl.gz", HELPFUL[:1]),
        ("**", sorted(HARMLESS + HELPFUL)),
    ],
)
def test_files_by_pattern(pattern: Any, chosen: list[str]) -> None:
    assert choose(HELPFUL + HARMLESS, data_files=pattern) == chosen


@pytest.mark.parametrize(
    "pattern",
    ["../x.jsonl", "/etc/*", "a/../../b", "http://x/y.jsonl", "~/x.jsonl", "a\\b", "c:/x"],
)
def test_a_pattern_stays_in_the_folder(pattern: str) -> None:
    assert "which is no file of this folder" in refused(HELPFUL, data_files=pattern)
    named = NamedDataSet("a", True, {"train": ("**",)})
    assert "which is no file of this folder" in refused(HELPFUL, named, data_files=[pattern])


def test_what_is_not_there_is_named() -> None:
    assert refused(HELPFUL, data_files="train.csv") == (
        "pets: no data file is called 'train.csv' (found: helpful-base/test.jsonl.gz, "
        "helpful-base/train.jsonl.gz); correct `data_files`"
    )
    assert refused(["train_prefs.jsonl"]) == (
        "pets: no split 'train' (found: train_prefs); set `split`"
    )
    assert refused(["pairs.jsonl"], split="test") == (
        "pets: no split 'test' (found: pairs.jsonl); set `split`"
    )
    assert refused(["a.txt", "b.zip"]).startswith("pets: holds no data file (.jsonl, ")


def test_a_missing_part() -> None:
    names = ["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"]
    assert refused(names) == (
        "pets: has 2 of the 3 files data/train-…-of-00003; add the others, or name those to read by "
        "`data_files`"
    )
    assert choose(names, data_files="data/*") == names


# By the README

TWO = [
    NamedDataSet("helpful", False, {"train": ("helpful-base/train*",), "test": ("**/test.*",)}),
    NamedDataSet("harmless", False, {"train": ("harmless-base/train.jsonl.gz",)}),
]


def test_data_sets_that_the_readme_names() -> None:
    every = HELPFUL + HARMLESS
    assert refused(every, *TWO) == SEVERAL.format("harmless, helpful")
    assert choose(every, *TWO, subset="helpful") == HELPFUL[1:]
    assert choose(every, *TWO, subset="harmless-base") == HARMLESS[1:]  # a folder may be named, too
    assert choose(every, TWO[0]) == HELPFUL[1:]
    default = NamedDataSet("b", True, {"train": (HARMLESS[0],)})
    assert choose(every, *TWO, default) == HARMLESS[:1]
    assert refused(every, *TWO, subset="harmless", split="test") == (
        "pets: no split 'test' (found: train); set `split`"
    )


def test_a_readme_that_names_nothing_there() -> None:
    named = NamedDataSet("a", True, {"train": ("gone/*.parquet",)})
    assert "no data file is called gone/*.parquet, as its README says" in refused(HELPFUL, named)
