"""The section on guardrails: their limits, and the checkpoints that broke one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeps.report import formatting
from sweeps.report.blocks import Block, Column, Row, Section, Table, Text, number, table
from sweeps.report.report_data import ReportData
from sweeps.run_dir.json_types import CandidateJson, CheckJson, GuardrailJson

_MOST_ROWS = 40
_NO_CHECKS: Mapping[str, CheckJson] = {}


def guardrails_section(data: ReportData) -> Section | None:
    """Show the guardrails, or return None where the selection has none."""
    limits = data.selection.get("guardrails") or {}
    candidates = data.selection.get("candidates") or []
    if not limits:
        return None
    blocks: list[Block] = [_limits(data, limits, candidates)]
    blocks += [Text(f"{name}: {note}.", "note") for name, note in _notes(data, candidates)]
    breaking = [c for c in candidates if not c.get("admissible", True) or _broken(c)]
    if breaking:
        blocks.append(_breaking(breaking, list(limits)))
        if len(breaking) > _MOST_ROWS:
            rest = (
                f"The table has the {_MOST_ROWS} most accurate of {len(breaking)} checkpoints; "
                "selection.json has all of them."
            )
            blocks.append(Text(rest, "note"))
    return Section("guardrails", "Guardrails", tuple(blocks))


def _notes(data: ReportData, candidates: Sequence[CandidateJson]) -> list[tuple[str, str]]:
    """Return what stands beside the values of the highlighted policy, by the guardrail's name."""
    checks = _checks_of_highlighted(data, candidates)
    return [(name, check["note"]) for name, check in checks.items() if check.get("note")]


def _limits(
    data: ReportData, limits: Mapping[str, GuardrailJson], candidates: Sequence[CandidateJson]
) -> Table:
    own_checks = _checks_of_highlighted(data, candidates)
    label = data.highlighted_label
    columns = [Column("guardrail"), number("limit"), Column("action"), number(label)]
    columns.append(number("candidates over the limit"))
    rows = []
    for name, limit in limits.items():
        own_check = own_checks.get(name)
        checks = [check for c in candidates if (check := _checks(c).get(name))]
        over = sum(check.get("passed") is False for check in checks)
        known_values = sum(check.get("passed") is not None for check in checks)
        cells = (
            name,
            formatting.value(limit.get("limit")),
            str(limit.get("action")),
            formatting.value(own_check.get("value") if own_check else None),
            f"{over} of {known_values}",
        )
        rows.append(Row(cells))
    return table(f"Limits, and the values of the {label}", columns, rows)


def _breaking(candidates: Sequence[CandidateJson], names: Sequence[str]) -> Table:
    columns = [Column("trial"), number("step"), number("accuracy"), *map(number, names)]
    columns.append(Column("admissible"))
    most_accurate = sorted(candidates, key=lambda c: -c["accuracy"])[:_MOST_ROWS]
    rows = [
        Row(
            (
                c["trial"],
                str(c["step"]),
                formatting.percent(c["accuracy"]),
                *(_cell(_checks(c).get(name)) for name in names),
                formatting.value(bool(c.get("admissible", True))),
            ),
            trial=c["trial"],
        )
        for c in most_accurate
    ]
    return table("Checkpoints over a limit", columns, rows)


def _checks_of_highlighted(
    data: ReportData, candidates: Sequence[CandidateJson]
) -> Mapping[str, CheckJson]:
    return next(
        (_checks(c) for c in candidates if (c["trial"], c["step"]) == data.highlighted), _NO_CHECKS
    )


def _checks(candidate: CandidateJson) -> Mapping[str, CheckJson]:
    return candidate.get("guardrails") or _NO_CHECKS


def _broken(candidate: CandidateJson) -> list[str]:
    return [name for name, check in _checks(candidate).items() if check.get("passed") is False]


def _cell(check: CheckJson | None) -> str:
    if not check:
        return formatting.MISSING
    return formatting.value(check.get("value")) + (" ✗" if check.get("passed") is False else "")
