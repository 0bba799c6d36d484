"""The share of the model that an adapter changes, as plan, run and report say it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dpo_core.audit.findings import WARNING, Finding
from sweeps.run_dir.json_types import CoverageJson

FEW = 0.5
_NAMED_FROM, _NAMED = 0.005, 5


def coverage_in_words(coverage: CoverageJson) -> str:
    """Say how much of the body an adapter changes, and which weights it leaves as they are.

    Args:
        coverage: Counts of weights.

    Returns:
        Words without a verb at the front: "98 % of the body; left out: …".
    """
    body, left_out = coverage["body"], coverage["left_out"]
    shown = [name for name, count in left_out.items() if count >= _NAMED_FROM * body][:_NAMED]
    rest = sum(count for name, count in left_out.items() if name not in shown)
    shares = [f"{name} {_percent(left_out[name], body)}" for name in shown]
    if rest >= _NAMED_FROM * body or (rest and not shown):
        shares.append(f"others {_percent(rest, body)}")
    words = f"{_percent(coverage['adapted'], body)} of the body (all between embeddings and head)"
    return f"{words}; left out: {', '.join(shares)}" if shares else words


def coverage_findings(coverage: CoverageJson | None) -> Iterator[Finding]:
    """Warn of an adapter that changes less than half of the body.

    Args:
        coverage: Counts of weights; None without an adapter.

    Yields:
        The warning.
    """
    if coverage is None or coverage["adapted"] >= FEW * coverage["body"]:
        return
    largest = max(coverage["left_out"], key=lambda name: coverage["left_out"][name])
    yield Finding(
        "adapter_coverage",
        WARNING,
        coverage["adapted"] / coverage["body"],
        f"of the model's body is all that the adapter changes; most of the rest is {largest}",
        "leave model.adapter.targets at all-linear, or train every weight with adapter: null",
        is_share=True,
    )


def _percent(count: int, whole: int) -> str:
    share = 100 * count / max(1, whole)
    if 99 < share < 100:
        return f"{math.floor(10 * share) / 10:.1f} %"  # 100 % would say that nothing is left out
    return f"{share:.1f} %" if 0 < share < 1 else f"{share:.0f} %"
