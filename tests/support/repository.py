"""The repository's root, its packages and their source files."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


PACKAGES = ("dpo_core", "search_spaces", "sweeps")


FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
