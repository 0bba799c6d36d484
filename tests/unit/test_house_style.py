"""How the code speaks: names of things, docstrings that begin with a verb, documented arguments."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.repository import FILES, name_of

# Names that say nothing of what a variable holds.
VAGUE = {"found", "told", "given", "made", "held", "known", "place"}
# A docstring of a function begins with a verb, so with none of these.
_NO_VERBS = """
    a also always an and as at before between both but by each empty every for from here how if in it
    its like more most never no none not nothing of on one only or over since so such than that the then
    there these this those to under until what whatever when where whether which while who whoever whose
    why with without after all
"""
NO_VERBS = {*_NO_VERBS.split()}
# A module, a class or a property may begin with an article and its noun.
ARTICLES = {"the", "a", "an", "one", "every", "each", "all", "no"}
MOST_ANY = 0.04

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def parameters(function: FUNCTION) -> list[ast.arg]:
    """Those that a caller gives by name or position, without `self` and `cls`."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [each for each in named if each.arg not in ("self", "cls")]


def is_property(node: ast.AST) -> bool:
    if not isinstance(node, FUNCTION):
        return False
    names = (ast.unparse(each).split(".")[-1] for each in node.decorator_list)
    return any(name in ("property", "cached_property") for name in names)


def is_typed_dict(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).endswith(("TypedDict", "Json", "Row")) for base in node.bases)


def vague_names(tree: ast.AST) -> list[str]:
    """Where a variable, a parameter or an attribute gets one of the vague names.

    Fields of a TypedDict are keys of a file, which older versions have written.
    """
    places = []
    typed_dicts = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and is_typed_dict(n)]
    fields = {id(f.target) for d in typed_dicts for f in d.body if isinstance(f, ast.AnnAssign)}
    for node in ast.walk(tree):
        if id(node) in fields:
            continue
        name = ""
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        if name in VAGUE:
            places.append(f"{node.lineno}: {name}")
    return places


def fragments(tree: ast.AST) -> list[str]:
    """Docstrings that begin with no verb, or, of modules, classes and properties, with no noun."""
    starts = []
    for node in ast.walk(tree):
        if not isinstance(node, Documented):
            continue
        words = re.match(r"[\W_]*([\w'’]+)", ast.get_docstring(node) or "")
        is_thing = not isinstance(node, FUNCTION) or is_property(node)
        if words and words[1].lower() in (NO_VERBS - ARTICLES if is_thing else NO_VERBS):
            starts.append(f"{getattr(node, 'lineno', 1)}: {words[0]} …")
    return starts


def public_code(tree: ast.AST) -> Iterator[ast.AST]:
    """Everything but what stands inside a function."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, FUNCTION):
            yield from public_code(node)


def undocumented(tree: ast.AST) -> list[str]:
    """Public functions of more than two parameters without `Args:`, or without `Returns:`."""
    names = []
    for node in public_code(tree):
        if not isinstance(node, FUNCTION) or node.name.startswith("_") or is_property(node):
            continue
        returned = ast.unparse(node.returns) if node.returns else "None"
        if len(parameters(node)) <= 2 and not returned.startswith("tuple["):
            continue
        text = ast.get_docstring(node) or ""
        wants_args = len(parameters(node)) > 2
        wants_returns = returned not in ("None", "NoReturn")
        if wants_args and "Args:" not in text:
            names.append(f"{node.lineno}: {node.name} without Args")
        if wants_returns and not re.search("Returns:|Yields:|Return |Yield ", text):
            names.append(f"{node.lineno}: {node.name} without Returns")
    return names


def annotations(tree: ast.AST) -> Iterator[ast.expr | None]:
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION):
            extra = (node.args.vararg, node.args.kwarg)
            for each in [*parameters(node), *filter(None, extra)]:
                yield each.annotation


def trees() -> dict[str, ast.Module]:
    return {name_of(path): ast.parse(path.read_text("utf-8")) for path in FILES}


@pytest.fixture(scope="module")
def source() -> dict[str, ast.Module]:
    return trees()


def is_command(name: str) -> bool:
    """Typer's commands, which document each parameter by `help=`."""
    return Path(name).parts[:2] == ("sweeps", "cli")


def test_a_variable_is_named_for_what_it_holds(source: dict[str, ast.Module]) -> None:
    assert {n: places for n, tree in source.items() if (places := vague_names(tree))} == {}


def test_docstrings_begin_with_a_verb_or_a_noun(source: dict[str, ast.Module]) -> None:
    assert {n: starts for n, tree in source.items() if (starts := fragments(tree))} == {}


def test_public_functions_document_their_arguments(source: dict[str, ast.Module]) -> None:
    open_ends = {n: undocumented(tree) for n, tree in source.items() if not is_command(n)}
    assert {n: names for n, names in open_ends.items() if names} == {}


def test_parameters_have_types_that_say_something(source: dict[str, ast.Module]) -> None:
    every = [each for tree in source.values() for each in annotations(tree)]
    untyped = [
        each
        for each in every
        if each is None
        or any(isinstance(part, ast.Name) and part.id == "Any" for part in ast.walk(each))
    ]
    assert len(untyped) / len(every) <= MOST_ANY


@pytest.mark.parametrize(
    ("check", "text", "count"),
    [
        (vague_names, "def f(found): told = 1; self.held = 2; x = found", 3),
        (vague_names, "pairs = [pair for pair in table]", 0),
        (vague_names, "class Night(TypedDict):\n    told: bool", 0),
        (vague_names, "class Night:\n    told: bool", 1),
        (fragments, 'def f():\n    """Of every night."""', 1),
        (fragments, 'def f():\n    """The number of pairs."""', 1),
        (fragments, 'class F:\n    """The number of pairs."""', 0),
        (fragments, 'class F:\n    """What is known."""', 1),
        (fragments, 'def f():\n    """Return the number of pairs."""', 0),
        (undocumented, 'def f(a, b, c):\n    """Add."""', 1),
        (
            undocumented,
            'def f(a, b, c) -> int:\n    """Add.\n\n    Args:\n        a: b\n    """',
            1,
        ),
        (undocumented, "def f(a, b) -> tuple[int, int]: ...", 1),
        (undocumented, "class F:\n    def f(self, a, b, c): ...", 1),
        (undocumented, "def _f(a, b, c): ...", 0),
        (undocumented, "def f():\n    def g(a, b, c): ...", 0),
    ],
)
def test_what_breaks_a_rule_is_seen(check, text: str, count: int) -> None:
    assert len(check(ast.parse(text))) == count
