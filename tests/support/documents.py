"""The project's Markdown documents: their tables, code spans and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.repository import ROOT

FOLDERS = ("sweeps", "dpo_core", "search_spaces", "tests", "cluster")
_FENCE = re.compile(r"^```.*?^```[ \t]*$", re.MULTILINE | re.DOTALL)
_CELL_BORDER = re.compile(r"(?<!\\)\|")


def documents() -> list[Path]:
    """Return every README of the project's folders and the guide for contributors."""
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("README.md")]
    return sorted([ROOT / "README.md", *inside, *(ROOT / ".github").glob("*.md")])


def prose(path: Path) -> str:
    """Return a document without its fenced code blocks."""
    return prose_of(path.read_text("utf-8"))


def prose_of(text: str) -> str:
    """Return a text without its fenced code blocks."""
    return _FENCE.sub("", text)


def blocks(text: str, language: str) -> list[str]:
    """Return the content of each fenced code block of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def code_spans(text: str) -> list[str]:
    """Return what stands between single backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def link_targets(text: str) -> list[str]:
    """Return where the links of a document lead, without those of pictures."""
    return re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", text)


def tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the header and the rows of each table, cells without their outer blanks."""
    lines = [line.strip() for line in text.splitlines()]
    for start in range(len(lines) - 1):
        if not (lines[start].startswith("|") and re.fullmatch(r"\|[-| :]+\|", lines[start + 1])):
            continue
        rows = []
        for line in lines[start + 2 :]:
            if not line.startswith("|"):
                break
            rows.append(_cells(line))
        yield _cells(lines[start]), rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in _CELL_BORDER.split(line)[1:-1]]
