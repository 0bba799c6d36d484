"""What the READMEs and the guide for contributors name exists: files, folders, links, functions."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import typer

from search_spaces import load_space
from sweeps.cli.app import app
from sweeps.config.load import parse_sweep
from sweeps.config.strict_yaml import load_yaml
from tests.support.documents import (
    FOLDERS,
    blocks,
    code_spans,
    documents,
    link_targets,
    prose,
    prose_of,
    tables,
)
from tests.support.repository import FILES, PACKAGES, ROOT, name_of

DOCUMENTS = documents()
WALK = ROOT / "sweeps" / "README.md"
MOST_WORDS = 1500  # of the main README, as `wc -w` counts them
CALL = re.compile(r"[a-z_]\w*(\.\w+)+\(\)")  # `trials.runner.run_trials()`


def names_a_path(span: str) -> bool:
    """Return whether a code span names a file or folder of the repository."""
    top = {path.name for path in ROOT.iterdir()} - {"runs", "dpo-demo"}
    first, slash, _ = span.partition("/")
    return bool(slash) and first in top and re.fullmatch(r"[\w./-]+", span) is not None


def resolve(call: str, package: str) -> object:
    """Return what `call`, such as `trials.runner.run_trials()`, names in a package."""
    *path, attribute = f"{package}.{call.removesuffix('()')}".split(".")
    for end in range(len(path), 0, -1):
        try:
            found: object = importlib.import_module(".".join(path[:end]))
        except ModuleNotFoundError:
            continue
        for name in (*path[end:], attribute):
            found = getattr(found, name)
        return found
    raise ModuleNotFoundError(call)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_path_in_a_document_exists(path: Path) -> None:
    spans = [span for span in code_spans(prose(path)) if names_a_path(span)]
    assert [span for span in spans if not (ROOT / span).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_in_a_document_leads_somewhere(path: Path) -> None:
    for target in link_targets(prose(path)):
        file, _, anchor = target.partition("#")
        if file.startswith(("http:", "https:")):
            continue
        linked = path.parent / file if file else path
        assert linked.exists(), target
        if anchor:
            text = (linked / "README.md" if linked.is_dir() else linked).read_text("utf-8")
            assert anchor in anchors(text), target


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_a_path_that_is_gone_is_seen() -> None:
    assert names_a_path("sweeps/no_such_room/x.py")
    assert names_a_path(".github/CONTRIBUTING.md")
    assert not names_a_path("best/adapter/")
    assert not names_a_path("runs/first-20260101-120000")


CALLS = [
    pytest.param(span, package, id=f"{package}.{span}")
    for package in PACKAGES
    for span in code_spans(prose(ROOT / package / "README.md"))
    if CALL.fullmatch(span)
]


@pytest.mark.parametrize(("call", "package"), CALLS)
def test_every_function_in_a_packages_readme_exists(call: str, package: str) -> None:
    assert callable(resolve(call, package))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_diagram_shows_functions_that_its_readme_names(package: str) -> None:
    text = (ROOT / package / "README.md").read_text("utf-8")
    [diagram] = blocks(text, "mermaid")
    named = {span.removesuffix("()").split(".")[-1] for span in code_spans(prose_of(text))}
    shown = {call.split(".")[-1] for call in re.findall(r"([\w.]+)\(\)", diagram)}
    assert shown - named == set()


def test_a_function_that_is_gone_is_seen() -> None:
    with pytest.raises(AttributeError):
        resolve("trials.runner.no_such_function()", "sweeps")


def test_one_sweep_is_walked_by_the_names_of_its_functions() -> None:
    walk = re.split(r"^## ", WALK.read_text("utf-8"), flags=re.MULTILINE)[2]
    assert walk.startswith("One sweep")
    named = {span for span in code_spans(walk) if CALL.fullmatch(span)}
    modules = {span.rpartition(".")[0] for span in named}
    assert len(named) >= 20
    assert {"config", "prepare", "trials", "search", "selection", "finalize", "report"} <= {
        module.partition(".")[0] for module in modules
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_in_the_packages_readme_once(package: str) -> None:
    text = prose(ROOT / package / "README.md")
    [rows] = [rows for header, rows in tables(text) if header[0] == "room"]
    named = [span.rstrip("/") for row in rows for span in code_spans(row[0])]
    inside = [
        path.relative_to(ROOT / package) for path in FILES if (ROOT / package) in path.parents
    ]
    rooms = {path.with_suffix("").parts[0] for path in inside} - {"__init__"}
    assert sorted(named) == sorted(rooms)


GUIDE = ROOT / ".github" / "CONTRIBUTING.md"
STEPS = [
    " ".join(step.split())
    for step in re.findall(
        r"^\d+\. (.+?)(?=^\d+\. |\n\n|\Z)", prose(GUIDE), re.MULTILINE | re.DOTALL
    )
]


@pytest.mark.parametrize(
    "step", STEPS, ids=lambda step: code_spans(step)[0] if "`" in step else step
)
def test_what_a_step_for_contributors_names_is_in_the_files_it_names(step: str) -> None:
    spans = code_spans(step)
    files = [ROOT / span for span in spans if names_a_path(span) and (ROOT / span).is_file()]
    text = "\n".join(file.read_text("utf-8") for file in files)
    names = [span for span in spans if re.fullmatch(r"\w+(\.\w+)*", span)]
    assert [
        n for n in names if not all(re.search(rf"\b{part}\b", text) for part in n.split("."))
    ] == []


def test_every_folder_has_a_readme() -> None:
    assert [folder for folder in FOLDERS if not (ROOT / folder / "README.md").is_file()] == []


def test_the_main_readme_is_an_entrance() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) <= MOST_WORDS
    for command in (
        "pip install -e '.[demo]' && dpo-sweeps demo",
        "pip install -e '.[test]' && pytest",
    ):
        assert command in text.splitlines()
    linked = {target.partition("#")[0] for target in link_targets(text)}
    assert {f"{folder}/README.md" for folder in FOLDERS} <= linked
    assert ".github/CONTRIBUTING.md" in linked


def test_the_main_readme_shows_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    shell = "".join(blocks(text, "bash"))
    named = set(re.findall(r"^dpo-sweeps ([a-z]+)", shell, re.MULTILINE))
    assert named
    assert named <= set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_examples_of_yaml_are_valid() -> None:
    [first] = blocks((ROOT / "README.md").read_text("utf-8"), "yaml")
    assert parse_sweep(first, source="README.md").name == "first"
    columns, sources = (
        parse_sweep(
            re.sub(r"^data:.*?(?=^space:)", data, first, flags=re.MULTILINE | re.DOTALL),
            source="dpo_core/README.md",
        ).data
        for data in blocks((ROOT / "dpo_core" / "README.md").read_text("utf-8"), "yaml")
    )
    assert "winner" in (columns.columns or {})
    assert len(sources.sources) == 4
    [space] = blocks((ROOT / "search_spaces" / "README.md").read_text("utf-8"), "yaml")
    assert (
        "gamma_ratio"
        in load_space(load_yaml(space, source="search_spaces/README.md")["space"]).names
    )
