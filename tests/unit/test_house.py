"""The house: which room may look into which, and that everything that ships can be loaded."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from search_spaces import Space, load_preset, preset_names
from sweeps.config.strict_yaml import load_yaml
from tests.support.repository import FILES, PACKAGES, ROOT, name_of

# The one heavy import that waits inside a function: a look at the fields of TRL's config.
TRL = {"dpo_core/training.py", "sweeps/prepare.py"}


def imports(tree: ast.AST, path: Path) -> set[str]:
    """Full names of all modules that are imported, in functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = path.relative_to(ROOT).with_suffix("").parts[: -node.level or None]
            inside = ".".join(home) if node.level else ""
            found.add(".".join(filter(None, (inside, node.module))))
    return found


def rooms(path: Path) -> set[str]:
    """Top-level packages that a file imports."""
    return {name.split(".")[0] for name in imports(ast.parse(path.read_text("utf-8")), path)}


def test_there_is_a_house() -> None:
    assert len(FILES) > 40
    assert {p.relative_to(ROOT).parts[0] for p in FILES} == set(PACKAGES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import ray.tune as t", {"ray.tune"}),
        ("def f():\n    from ray import tune", {"ray"}),
        ("if TYPE_CHECKING:\n    import optuna", {"optuna"}),
        ("from . import rows", {"dpo_core"}),
        ("from .rows import pack", {"dpo_core.encoding.packing"}),
    ],
)
def test_no_import_is_overlooked(text: str, found: set[str]) -> None:
    assert imports(ast.parse(text), ROOT / "dpo_core" / "x.py") == found


FORBIDDEN = {
    "dpo_core": {"ray", "optuna", "sweeps", "search_spaces"},
    "search_spaces": {"dpo_core", "sweeps", "torch", "transformers", "trl", "ray", "optuna"},
    "sweeps": set(),
}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_street_is_one_way(path: Path) -> None:
    used = rooms(path)
    assert used & FORBIDDEN[path.relative_to(ROOT).parts[0]] == set()
    if "trl" in used:
        assert name_of(path) in TRL


def test_trl_waits_inside_a_function_where_it_is_not_at_home() -> None:
    tree = ast.parse((ROOT / "sweeps" / "prepare.py").read_text("utf-8"))
    at_import = {
        n
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for n in imports(node, ROOT / "sweeps" / "prepare.py")
    }
    assert not {name for name in at_import if name.split(".")[0] in ("trl", "torch", "ray")}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_imports(path: Path) -> None:
    if path.name == "__main__.py":
        ast.parse(path.read_text("utf-8"))  # importing it would run the command
        return
    parts = path.relative_to(ROOT).with_suffix("").parts
    importlib.import_module(".".join(p for p in parts if p != "__init__"))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_says_what_it_is_and_is_named_for_it(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), "no docstring"
    vague = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}
    assert not vague & {*path.relative_to(ROOT).with_suffix("").parts}


SHIPPED = [p for package in PACKAGES for p in (ROOT / package).rglob("*.yaml")]
CLUSTER = [p for kind in ("*.yaml", "*.yml") for p in (ROOT / "cluster").rglob(kind)]


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_yaml_that_ships_passes_the_strict_reader(path: Path) -> None:
    assert isinstance(load_yaml(path.read_text("utf-8"), source=path.name), dict)


def test_presets_are_among_them() -> None:
    assert {"demo", "full", "lora"} <= set(preset_names())
    assert {f"search_spaces/presets/{n}.yaml" for n in preset_names()} <= set(map(name_of, SHIPPED))
    for name in preset_names():
        assert isinstance(load_preset(name), Space)


@pytest.mark.parametrize("path", CLUSTER or [None], ids=lambda p: name_of(p) if p else "none")
def test_yaml_of_the_cluster_parses(path: Path | None) -> None:
    if path is None:
        pytest.skip("cluster/ holds no YAML")
    documents = [d for d in yaml.safe_load_all(path.read_text("utf-8")) if d is not None]
    assert documents
    assert all(isinstance(d, dict) for d in documents)


def repository_texts() -> list[Path]:
    """Files that are committed or would be, without those that are no text."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout, so what belongs to the repository is not known")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_no_file_names_the_machine_it_was_written_on() -> None:
    places = [b"/" + b"work/", b"." + b"library"]  # in two parts, or this file would name them
    texts = repository_texts()
    assert ROOT / "pyproject.toml" in texts
    assert [name_of(p) for p in texts if any(place in p.read_bytes() for place in places)] == []


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_every_package_is_installed() -> None:
    folders = {path.parent for path in FILES if path.name == "__init__.py"}
    dotted = sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == dotted
    # A module in a folder that is no package would work here and be missing once installed.
    assert {path.parent for path in FILES} == folders


def test_every_file_of_data_is_installed() -> None:
    given = PROJECT["tool"]["setuptools"]["package-data"]
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_dir() or path.suffix in (".py", ".pyc"):
                continue
            patterns = given[".".join(path.parent.relative_to(ROOT).parts)]
            assert any(fnmatch.fnmatch(path.name, p) for p in patterns), name_of(path)


def test_the_command_is_installed() -> None:
    module, _, function = PROJECT["project"]["scripts"]["dpo-sweeps"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
