"""Findings from the untouched model's log-probabilities, each on columns made for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dpo_core.audit.findings import INFO, WARNING
from dpo_core.audit.reference_checks import reference_findings
from dpo_core.encoding.token_table import EncodedPair, TokenTable
from tests.support.toys import toy_encoded

TEN = np.full(100, 10)


def findings_in(
    chosen: Any, rejected: Any, pairs: list[EncodedPair] | None = None, golden: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Findings by code; `chosen` and `rejected` in nats a token."""
    columns = {
        "chosen": 10 * chosen,
        "rejected": 10 * rejected,
        "chosen_tokens": TEN,
        "rejected_tokens": TEN,
    }
    table = TokenTable.of(pairs or toy_encoded(100))
    findings = reference_findings(table, columns, "data:{}".format, golden)
    return {finding.code: finding for finding in findings}


CHOSEN = np.linspace(-2, -1, 100)
# Twenty that nobody would write.
REJECTED = np.where(np.arange(100) < 20, -9.0, -1.2)


def test_answers_that_nobody_would_write() -> None:
    finding = findings_in(CHOSEN, REJECTED)["out_of_distribution"]
    assert finding.number == pytest.approx(0.2)
    assert finding.severity == WARNING
    assert "golden" in finding.remedy
    assert finding.places == ("data:0", "data:1", "data:2", "data:3", "data:4")
    assert "without" not in finding.message


def test_golden_answers_show_in_the_number() -> None:
    pairs = [
        replace(pair, source="humans" if n < 50 else "experts")
        for n, pair in enumerate(toy_encoded(100))
    ]
    finding = findings_in(CHOSEN, REJECTED, pairs, ("experts",))["out_of_distribution"]
    assert finding.number == pytest.approx(0.2)
    assert finding.message.endswith(
        "it is 40.0 % without the golden answers and 0.0 % of the model's own answers to them"
    )
    alone = findings_in(CHOSEN, REJECTED, pairs, ("humans", "experts"))["out_of_distribution"]
    assert "without" not in alone.message, "there is nothing to compare them with"


def test_what_the_model_ranks_and_expects_already() -> None:
    findings = findings_in(CHOSEN, REJECTED)
    assert findings["reference_ranks_right"].number == pytest.approx(np.mean(CHOSEN > REJECTED))
    assert findings["mean_logp"].number == pytest.approx(np.mean(REJECTED))
    assert "-1.50 for chosen ones" in findings["mean_logp"].message


def test_the_margin_follows_length() -> None:
    pairs = [
        replace(p, chosen=(1,) * (n + 1), rejected=(2,)) for n, p in enumerate(toy_encoded(100))
    ]
    finding = findings_in(-np.arange(100.0), np.zeros(100), pairs)["reference_length_correlation"]
    assert finding.number == pytest.approx(-1)


def test_pairs_that_cannot_be_moved() -> None:
    assert "unmoved" not in findings_in(CHOSEN, REJECTED)
    pairs = toy_encoded(100)
    pairs[7] = replace(pairs[7], rejected=pairs[7].chosen)
    certain = np.where(np.arange(100) == 3, -0.001, CHOSEN)
    finding = findings_in(certain, REJECTED, pairs)["unmoved"]
    assert (finding.number, finding.severity) == (0.02, INFO)
    assert finding.places == ("data:3", "data:7")
