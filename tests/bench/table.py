"""What the bench found, as rows: a number of each side, their ratio, and whether a goal is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """`judged` is what the goal is about: the ratio unless `of` says ours."""

    what: str
    ours: float | None = None
    recipe: float | None = None
    unit: str = ""
    sign: str = ""  # "<=", "<", ">=" or "=="
    goal: float | None = None
    of: str = "ratio"

    @property
    def ratio(self) -> float | None:
        if self.ours is None or not self.recipe:
            return None
        return self.ours / self.recipe

    @property
    def judged(self) -> float | None:
        return self.ratio if self.of == "ratio" else self.ours

    @property
    def reached(self) -> bool | None:
        """None without a goal, or without the number that it is about."""
        if self.goal is None or self.judged is None:
            return None
        return {
            "<=": self.judged <= self.goal,
            "<": self.judged < self.goal,
            ">=": self.judged >= self.goal,
            "==": self.judged == self.goal,
        }[self.sign]

    def cells(self) -> tuple[str, ...]:
        goal = "" if self.goal is None else f"{self.sign} {self.goal:g}"
        if goal and self.of != "ratio":
            goal = f"{goal} {self.unit}".rstrip()
        verdict = {None: "", True: "yes", False: "no"}[self.reached]
        numbers = (_shown(self.ours, self.unit), _shown(self.recipe, self.unit))
        return (self.what, *numbers, _shown(self.ratio), goal, verdict)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "ratio": self.ratio, "reached": self.reached}


def table(rows: Sequence[Row]) -> Any:
    from rich.table import Table

    drawn = Table(title="dpo-sweeps against the documented recipe")
    for name in ("what", "ours", "recipe", "ratio", "goal", "reached"):
        drawn.add_column(name, justify="left" if name == "what" else "right")
    for row in rows:
        drawn.add_row(*row.cells())
    return drawn


def _shown(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()
