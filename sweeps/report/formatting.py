"""Numbers as a report writes them: shares in per cent, drift in nats per token, durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

MISSING = "–"


def percent(share: float | None) -> str:
    """Format a share in [0, 1] in per cent."""
    return MISSING if share is None else f"{100 * share:.1f} %"


def percent_interval(bounds: Sequence[float] | None) -> str:
    """Format an interval of shares in per cent."""
    if not bounds:
        return MISSING
    low, high = bounds
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def signed_points(difference: float) -> str:
    """Format a difference of shares in percentage points, with its sign and without the unit."""
    return _with_minus_sign(f"{100 * difference:+z.1f}")


def percentage_points(difference: float | None) -> str:
    """Format a difference of shares in percentage points, with its sign."""
    return MISSING if difference is None else f"{signed_points(difference)} points"


def points_interval(bounds: Sequence[float]) -> str:
    """Format an interval of differences of shares in percentage points, without the unit."""
    low, high = bounds
    return f"{signed_points(low)} to {signed_points(high)}"


def p_value(probability: float | None) -> str:
    """Format a p-value with three digits."""
    if probability is None:
        return MISSING
    return "< 0.001" if probability < 0.001 else f"{probability:.3f}"


def nats(amount: float | None) -> str:
    """Format an amount of nats with its sign and without the unit."""
    return MISSING if amount is None else _with_minus_sign(f"{amount:+z.3f}")


def value(content: object) -> str:
    """Format a number as it may be copied into a config, and a truth value as a word."""
    if content is None:
        return MISSING
    if isinstance(content, bool):
        return "yes" if content else "no"
    return f"{content:.3g}" if isinstance(content, float) else str(content)


def point(values: Mapping[str, object]) -> str:
    """Format hyperparameters as `name value`, separated by commas."""
    return ", ".join(f"{name} {value(content)}" for name, content in values.items())


def duration(seconds: float) -> str:
    """Format a duration in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def is_number(content: object) -> TypeGuard[float]:
    """Return whether a value is a number; True and False are none."""
    return isinstance(content, int | float) and not isinstance(content, bool)


def _with_minus_sign(text: str) -> str:
    """Replace hyphens by the minus sign, which is as wide as a plus."""
    return text.replace("-", "−")
