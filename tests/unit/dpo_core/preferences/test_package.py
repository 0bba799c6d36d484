"""The package of preferences as a whole: what importing it loads, and which module imports which."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import dpo_core.preferences


def test_importing_loads_neither_datasets_nor_torch() -> None:
    code = (
        "import sys, dpo_core.preferences\n"
        "print([m for m in ('datasets', 'torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_a_module_imports_only_those_before_it_in_the_docstring() -> None:
    folder = Path(dpo_core.preferences.__file__).parent
    docstring = dpo_core.preferences.__doc__ or ""
    order = re.split(r",\s+", docstring.partition("in this list: ")[2].strip().rstrip("."))
    assert sorted(order) == sorted(path.stem for path in folder.glob("[!_]*.py"))
    for position, name in enumerate(order):
        tree = ast.parse((folder / f"{name}.py").read_text("utf-8"))
        imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        later = {f"dpo_core.preferences.{other}" for other in order[position:]}
        assert not imported & later, name
