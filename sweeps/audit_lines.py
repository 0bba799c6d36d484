"""A finding of the audit as lines for a reader; `audit`, `plan` and `run` print the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def finding_lines(finding: Mapping[str, Any]) -> list[str]:
    number = finding["number"]
    if finding["is_share"]:
        shown = f"{100 * number:.1f} %"
    else:
        shown = f"{number:.2f}" if number % 1 else f"{number:.0f}"
    lines = [f"{finding['severity']}: {shown} {finding['message']}"]
    if finding["places"]:
        lines.append(f"    such as {', '.join(finding['places'])}")
    if finding["remedy"]:
        lines.append(f"    {finding['remedy']}")
    return lines
