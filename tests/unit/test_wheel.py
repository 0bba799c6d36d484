"""What is installed is what is here: a real wheel holds every module and every file of data.

The README of a folder is for readers of the repository, and is not installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.repository import ROOT

PACKAGES = ("dpo_core", "search_spaces", "sweeps")


def test_a_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=leave_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    here = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    done = subprocess.run([*command, "-w", out, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [wheel] = out.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    installed = {name for name in here if name.split("/")[0] in PACKAGES and not is_readme(name)}
    assert installed - held == set()
    assert [name for name in held if is_readme(name)] == []
    assert "sweeps/report/page.html" in held


def is_readme(name: str) -> bool:
    return name.rpartition("/")[2] == "README.md"
