"""The bench of a sweep's default budget, on one sweep; the goals are judged by the bench itself."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench import search
from tests.bench.search import EARLIER, Regrets, regret, rows, settings
from tests.support.outside_inputs import outside_input


def test_a_sweep_of_the_default_budget_has_a_regret() -> None:
    outside_input("cases/surfaces.py")
    cheap = ("search.sampler=tpe",)
    first = regret("plateau", 0, cheap)
    assert 0 <= first < 20
    assert regret("plateau", 0, cheap) == first != regret("plateau", 1, cheap)


def test_the_default_budget_is_no_larger_than_before() -> None:
    """What the surfaces' numbers are compared with had 8 trials, then 3 points with 3 seeds."""
    config = settings()
    assert config.search.trials + config.selection.confirm.trials(config.search.trials) <= 17


def test_goals() -> None:
    measured = {name: Regrets(name, 17, np.array([2.0, 3.0])) for name in EARLIER}
    assert [(row.ours, row.reached) for row in rows(measured)] == [
        (2.5, False),
        (2.5, True),
        (2.5, False),
    ]


def test_without_the_surfaces_the_bench_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SURFACES", search.SURFACES.parent / "absent.py")
    [row] = rows(search.measure())
    assert row.what.startswith("search: skipped, ")
    assert row.reached is None
