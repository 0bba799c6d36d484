"""What kept the choice honest: guardrails, confirmation with other seeds, openings of `final`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.report import formatting
from sweeps.report.blocks import Block, Column, Row, Section, Table, Text, number, table
from sweeps.report.report_data import Evidence

_MOST_ROWS = 40


def guardrails_section(evidence: Evidence) -> Section | None:
    """None where the selection knows no guardrails."""
    limits: Mapping[str, Any] = evidence.selection.get("guardrails") or {}
    candidates: Sequence[Mapping[str, Any]] = evidence.selection.get("candidates") or []
    if not limits:
        return None
    blocks: list[Block] = [_limits(limits, candidates, evidence.subject, evidence.subject_name)]
    caught = [c for c in candidates if not c.get("admissible", True) or _failed(c)]
    if caught:
        blocks.append(_caught(caught, list(limits)))
        if len(caught) > _MOST_ROWS:
            rest = f"The {_MOST_ROWS} most accurate of {len(caught)}; selection.json has them all."
            blocks.append(Text(rest, "note"))
    return Section("guardrails", "Guardrails", tuple(blocks))


def _limits(
    limits: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    subject: tuple[str, int] | None,
    whose: str,
) -> Table:
    own = next((c for c in candidates if (c["trial"], c["step"]) == subject), {})
    columns = [Column("guardrail"), number("limit"), Column("action"), number(whose)]
    columns.append(number("candidates over it"))
    rows = []
    for name, rule in limits.items():
        value = (own.get("guardrails") or {}).get(name, {}).get("value")
        over = sum(name in _failed(c) for c in candidates)
        told = formatting.value(rule.get("limit")), str(rule.get("action")), formatting.value(value)
        rows.append(Row((name, *told, f"{over} of {_known(name, candidates)}")))
    return table(f"Limits, and the numbers of the {whose}", columns, rows)


def _caught(caught: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    columns = [Column("trial"), number("step"), number("accuracy"), *map(number, names)]
    columns.append(Column("admissible"))
    ranked = sorted(caught, key=lambda c: -c["accuracy"])[:_MOST_ROWS]
    rows = [
        Row(
            (
                c["trial"],
                str(c["step"]),
                formatting.share(c["accuracy"]),
                *(_cell((c.get("guardrails") or {}).get(name)) for name in names),
                formatting.value(bool(c.get("admissible", True))),
            ),
            trial=c["trial"],
        )
        for c in ranked
    ]
    return table("Checkpoints that a guardrail caught", columns, rows)


def _known(name: str, candidates: Sequence[Mapping[str, Any]]) -> int:
    """Of how many candidates the number is known."""
    checks = ((c.get("guardrails") or {}).get(name, {}) for c in candidates)
    return sum(check.get("passed") is not None for check in checks)


def _failed(candidate: Mapping[str, Any]) -> list[str]:
    rules = candidate.get("guardrails") or {}
    return [name for name, rule in rules.items() if rule.get("passed") is False]


def _cell(rule: Mapping[str, Any] | None) -> str:
    if not rule:
        return formatting.MISSING
    return formatting.value(rule.get("value")) + (" ✗" if rule.get("passed") is False else "")
