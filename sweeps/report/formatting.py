"""How values read: accuracies in per cent, drift in nats a token, points, durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MISSING = "–"


def share(value: float | None) -> str:
    """A share in [0, 1] as per cent."""
    return MISSING if value is None else f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    """A difference of shares, in percentage points with its sign."""
    return MISSING if value is None else f"{_minus(f'{100 * value:+.1f}')} points"


def p_value(value: float | None) -> str:
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(bounds: Sequence[float] | None) -> str:
    """Of shares, in per cent."""
    if not bounds:
        return MISSING
    low, high = bounds
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def nats(value: float | None) -> str:
    return MISSING if value is None else _minus(f"{value:+.3f}")


def value(of: Any) -> str:
    """Numbers as they may be copied into a config."""
    if of is None:
        return MISSING
    if isinstance(of, bool):
        return "yes" if of else "no"
    return f"{of:.3g}" if isinstance(of, float) else str(of)


def point(of: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value(each)}" for name, each in of.items())


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _minus(text: str) -> str:
    return text.replace("-", "−")
