"""Nothing in the product can be made to run code by what it reads: no pickles, no eval, no shell."""

from __future__ import annotations

import ast

import pytest

from tests.support.repository import FILES, name_of

# Calls by their last names: whatever module they are taken from.
FORBIDDEN = {
    "pickle.load",
    "pickle.loads",
    "cloudpickle.load",
    "cloudpickle.loads",
    "dill.load",
    "dill.loads",
    "joblib.load",
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "Tuner.restore",
    "eval",
    "exec",
    "compile",
    "__import__",
}
UNSAFE_ARGUMENTS = {("shell", True), ("allow_pickle", True), ("weights_only", False)}


def unsafe_calls(source: str) -> list[str]:
    """`name` of each call that could run code, or `keyword=value` of an argument that lets it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        found += [
            bad for bad in FORBIDDEN if name == bad or (name.endswith(f".{bad}") and "." in bad)
        ]
        for keyword in node.keywords:
            value = getattr(keyword.value, "value", None)
            if (keyword.arg, value) in UNSAFE_ARGUMENTS:
                found.append(f"{keyword.arg}={value}")
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_runs_what_it_reads(path) -> None:
    assert unsafe_calls(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("import torch\ntorch.load(f)", ["torch.load"]),
        ("tune.Tuner.restore(p, f)", ["Tuner.restore"]),
        ("eval(text)", ["eval"]),
        ("subprocess.run(c, shell=True)", ["shell=True"]),
        ("numpy.load(f, allow_pickle=True)", ["allow_pickle=True"]),
        ("model.eval()\nre.compile(p)\njson.load(f)", []),
    ],
)
def test_what_is_unsafe_is_seen(source: str, bad: list[str]) -> None:
    assert unsafe_calls(source) == bad
