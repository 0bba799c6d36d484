"""The house: which room may look into which, and that everything that ships can be loaded."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from search_spaces import Space, load_preset, preset_names
from sweeps.config.strict_yaml import load_yaml
from tests.support.repository import FILES, PACKAGES, ROOT, name_of

MOST_MODULES = 15
# Rooms of each package, floor by floor: a room imports only from floors above its own line. A room is
# a folder, or a module that stands beside the folders.
FLOORS = {
    "search_spaces": """
        errors
        axes
        branches
        reachability
        rules
        space
        presets
    """,
    "dpo_core": """
        errors
        refused_trl_fields columns wording
        settings hyperparams hardware
        storage model_code
        preferences
        encoding
        audit ops
        models
        scoring
        evaluation
        training
        console
    """,
    "sweeps": """
        config
        run_dir
        selection
        search ray_runtime jobs
        prepare trials finalize report demo
        sweep reselect preflight clean
        nightly
        cli
        __main__
    """,
}
FLOOR_OF = {
    f"{package}.{room}": floor
    for package, text in FLOORS.items()
    for floor, line in enumerate(text.strip().splitlines())
    for room in line.split()
}


def imports(tree: ast.AST, path: Path) -> set[str]:
    """Full names of all modules that are imported, in functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = path.relative_to(ROOT).with_suffix("").parts[: -node.level or None]
            inside = ".".join(home) if node.level else ""
            module = ".".join(filter(None, (inside, node.module)))
            # `from dpo_core import storage` names the room only after `import`.
            whole = "." not in module and module in PACKAGES
            found |= {f"{module}.{alias.name}" for alias in node.names} if whole else {module}
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
        ("from . import rows", {"dpo_core.rows"}),
        ("from .rows import pack", {"dpo_core.rows"}),
    ],
)
def test_no_import_is_overlooked(text: str, found: set[str]) -> None:
    assert imports(ast.parse(text), ROOT / "dpo_core" / "x.py") == found


FORBIDDEN = {
    "dpo_core": {"ray", "optuna", "sweeps", "search_spaces"},
    "search_spaces": {"dpo_core", "sweeps", "torch", "transformers", "trl", "ray", "optuna"},
    "sweeps": set(),
}


def room_of(module: str) -> str:
    """`sweeps.trials` of `sweeps.trials.runner`; the package itself of its `__init__`."""
    return ".".join(module.split(".")[:2])


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def wrong_imports(tree: ast.AST, path: Path) -> list[str]:
    """Modules of the same package that stand in another room, and not on a lower floor."""
    room = room_of(module_of(path))
    package = room.partition(".")[0]
    if room == package:
        return []  # the package's own front door re-exports what it likes
    inside = [name for name in imports(tree, path) if name.startswith(f"{package}.")]
    return [
        name
        for name in inside
        if room_of(name) != room and FLOOR_OF[room_of(name)] >= FLOOR_OF[room]
    ]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert rooms(path) & FORBIDDEN[path.relative_to(ROOT).parts[0]] == set()
    assert wrong_imports(tree, path) == []
    if "trl" in rooms(path):
        assert name_of(path) == "dpo_core/training/trainer.py"


@pytest.mark.parametrize(
    ("home", "text", "wrong"),
    [
        ("sweeps/selection/rule.py", "from sweeps.trials import runner", ["sweeps.trials"]),
        ("sweeps/trials/x.py", "from sweeps.finalize.export import f", ["sweeps.finalize.export"]),
        ("sweeps/trials/x.py", "from sweeps.trials.runner import f", []),
        ("sweeps/sweep.py", "from sweeps.trials.runner import f", []),
        ("dpo_core/ops/x.py", "def f():\n    import dpo_core.audit.y", ["dpo_core.audit.y"]),
    ],
)
def test_an_import_against_the_order_is_seen(home: str, text: str, wrong: list[str]) -> None:
    assert wrong_imports(ast.parse(text), ROOT / home) == wrong


def test_every_room_stands_on_a_floor() -> None:
    rooms_here = {room_of(module_of(path)) for path in FILES} - set(PACKAGES)
    assert rooms_here == set(FLOOR_OF)


def test_no_folder_has_too_many_modules() -> None:
    counts = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert {name_of(f): n for f, n in counts.items() if n > MOST_MODULES} == {}


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


def test_a_test_that_a_module_names_exists() -> None:
    for path in FILES:
        named = re.findall(r"Tested in ([\w/.]+\.py)", path.read_text("utf-8"))
        assert [name for name in named if not (ROOT / name).is_file()] == [], name_of(path)


TESTS = sorted((ROOT / "tests").rglob("*.py"))


def test_no_test_module_imports_another() -> None:
    """What tests share stands in tests/support, or in the conftest of their folder."""
    for path in TESTS:
        names = imports(ast.parse(path.read_text("utf-8")), path)
        wrong = {n for n in names if re.match(r"tests\.(unit|integration)\b|conftest|test_", n)}
        assert wrong == set(), name_of(path)


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
            if path.is_dir() or path.suffix in (".py", ".pyc") or path.name == "README.md":
                continue
            patterns = given[".".join(path.parent.relative_to(ROOT).parts)]
            assert any(fnmatch.fnmatch(path.name, p) for p in patterns), name_of(path)


def test_the_command_is_installed() -> None:
    module, _, function = PROJECT["project"]["scripts"]["dpo-sweeps"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
