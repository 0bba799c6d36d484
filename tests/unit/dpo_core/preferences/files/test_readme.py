"""What a README may say of the files beside it, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dpo_core.errors import DataError
from dpo_core.preferences.files.readme import NamedDataSet, named_data_sets


def readme(configs: Any) -> str:
    return f"---\n{yaml.safe_dump({'license': 'mit', 'configs': configs})}---\n# Pairs\n---\n"


@pytest.mark.parametrize(
    ("data_files", "patterns"),
    [
        ("a.jsonl", {"train": ("a.jsonl",)}),
        (["a.jsonl", "b/*"], {"train": ("a.jsonl", "b/*")}),
        ({"train": "a.jsonl", "test": ["b"]}, {"train": ("a.jsonl",), "test": ("b",)}),
        (
            [{"split": "test", "path": ["a", "b"]}, {"path": "c"}],
            {"test": ("a", "b"), "train": ("c",)},
        ),
    ],
)
def test_every_way_to_name_files(data_files: Any, patterns: dict[str, Any]) -> None:
    text = readme([{"config_name": "x", "data_files": data_files, "default": True}])
    assert named_data_sets(text, "README.md") == [NamedDataSet("x", True, patterns)]


def test_files_of_a_folder() -> None:
    text = readme([{"config_name": "x", "data_dir": "helpful", "data_files": "train-*"}])
    assert named_data_sets(text, "README.md")[0].patterns == {"train": ("helpful/train-*",)}


@pytest.mark.parametrize(
    "text",
    [
        "# Pairs",
        "---\nlicense: mit\n---\n",
        "---\n: [broken\n---\n",
        "---\nconfigs:\n- config_name: x\n---\n",
        "configs: [a]",
    ],
)
def test_a_readme_that_names_no_files(text: str) -> None:
    assert named_data_sets(text, "README.md") == []


OUTSIDE = [
    "../secrets.jsonl",
    "a/../../secrets.jsonl",
    "/etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "hf://datasets/other/name/a.jsonl",
    "~/secrets.jsonl",
    "\\\\server\\share",
]


@pytest.mark.parametrize("pattern", OUTSIDE)
@pytest.mark.parametrize("where", ["path", "data_dir"])
def test_files_outside_are_refused(pattern: str, where: str) -> None:
    config = {"config_name": "x", "data_files": [{"split": "train", "path": "a.jsonl"}]}
    if where == "path":
        config["data_files"] = [{"split": "train", "path": ["a.jsonl", pattern]}]
    else:
        config["data_dir"] = pattern
    with pytest.raises(
        DataError, match=r"^README\.md: names .*, which is no file of this folder; "
    ):
        named_data_sets(readme([config]), "README.md")


@pytest.mark.parametrize(
    "configs",
    ["x", ["x"], [{"data_files": [1]}], [{"data_files": {1: "a"}}], [{"data_files": [[]]}]],
)
def test_what_says_nothing_sensible(configs: Any) -> None:
    with pytest.raises(DataError, match="does not say which files make a data set"):
        named_data_sets(readme(configs), "README.md")


def test_yaml_that_cannot_be_read() -> None:
    with pytest.raises(DataError, match="the YAML at its start cannot be read"):
        named_data_sets("---\nconfigs: [broken\n---\n", "README.md")
    with pytest.raises(DataError, match="the YAML at its start cannot be read"):
        named_data_sets("---\nconfigs: !!python/object/apply:os.system [id]\n---\n", "README.md")
