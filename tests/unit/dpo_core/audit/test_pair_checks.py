"""Each planted defect is found, counted and located; clean data give no finding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dpo_core.audit.pair_checks import INFO, SEVERE, WARNING, audit, by_severity, length_percentiles
from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.preferences.pairs import PreferencePair, number_repeats
from tests.support.toys import text_pair


def pair(prompt: str, chosen: str = "yes", rejected: str = "no") -> PreferencePair:
    return text_pair(prompt, chosen, rejected)


def tokens_of(pairs: Any, **changes: Any) -> list[EncodedPair]:
    return [EncodedPair(p.id, (1, 2), (3, 4), (5, 6), **changes) for p in pairs]


def findings_in(splits: dict[str, Any], tokens: Any = None) -> dict[str, Any]:
    """Findings by code; each split is filled up with harmless pairs to 150."""
    numbers = iter(range(10**6))
    splits = {
        split: list(
            number_repeats(
                [
                    *defects,
                    *(pair(f"{next(numbers)} asks about {split} things") for _ in range(150)),
                ]
            )
        )
        for split, defects in splits.items()
    }
    tokens = tokens or {split: tokens_of(pairs) for split, pairs in splits.items()}
    return {finding.code: finding for finding in audit(splits, tokens, 512)}


SPLITS: dict[str, Any] = {"train": [], "select": [], "final": []}


def test_clean_data_give_no_finding() -> None:
    assert findings_in(SPLITS) == {}


def test_repeated_pairs() -> None:
    finding = findings_in({**SPLITS, "train": [pair("Is it safe?")] * 3})["repeated"]
    assert (finding.number, finding.severity) == (2, INFO)
    assert finding.places == ("data:1", "data:1")


def test_contradicting_pairs() -> None:
    both = [pair("Is it safe?", "yes", "no"), pair("Is it safe?", "no", "yes")]
    finding = findings_in({**SPLITS, "train": both})["contradicting"]
    assert (finding.number, finding.severity) == (1, WARNING)
    assert findings_in({**SPLITS, "train": both * 10})["contradicting"].severity == SEVERE


def test_near_duplicates_are_leaks_across_splits_only() -> None:
    words = "may a child of four years take the syrup for adults before going to bed at night"
    near = pair(f"{words} please"), pair(f"{words} thanks")
    finding = findings_in({**SPLITS, "train": [near[0]], "final": [near[1]]})["near_duplicates"]
    assert finding.number == 1
    assert finding.places == ("data:1 (train) and data:1 (final)",)
    within = findings_in({**SPLITS, "train": list(near)})
    assert "near_duplicates" not in within
    assert (within["alike"].number, within["alike"].severity) == (1, INFO)
    assert within["alike"].places == ("data:1 and data:1",)


def test_held_out_prompts_are_compared_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpo_core.preferences.near_duplicates.MAX_PROMPTS", 2)
    words = "may a child of four years take the syrup for adults before going to bed at night"
    splits = {
        "train": [pair(f"{n} asks about something else") for n in range(10)],
        "select": [pair(f"{words} please")],
        "final": [pair(f"{words} thanks")],
    }
    tokens = {split: tokens_of(pairs) for split, pairs in splits.items()}
    findings = {f.code: f for f in audit(splits, tokens, 512)}
    assert findings["near_duplicates"].number == 1
    assert findings["not_compared"].number == 10


def test_cut_pairs_say_what_would_keep_them() -> None:
    splits = {"train": [pair(f"{n} asks") for n in range(200)]}
    tokens = tokens_of(splits["train"][:120]) + tokens_of(splits["train"][120:], cut_prompt=996)
    (finding,) = [f for f in audit(splits, {"train": tokens}, 512) if f.code == "cut"]
    assert (finding.number, finding.severity, finding.is_share) == (0.4, SEVERE, True)
    assert finding.remedy == "data.max_tokens: 1000 would keep at least 99 % of all pairs uncut"
    (finding,) = [f for f in audit(splits, {"train": tokens}, 256) if f.code == "cut"]
    assert finding.remedy.endswith("99 % of all pairs uncut, 512 at least 60 %")


@pytest.mark.parametrize(("longer", "severity"), [(70, WARNING), (55, INFO), (20, WARNING)])
def test_longer_wins(longer: int, severity: str) -> None:
    splits = {"train": [pair(f"{n} asks") for n in range(100)]}
    tokens = [
        EncodedPair(p.id, (1,), (2,) * (3 if n < longer else 1), (3, 3))
        for n, p in enumerate(splits["train"])
    ]
    (finding,) = [f for f in audit(splits, {"train": tokens}, 512) if f.code == "longer_wins"]
    assert (finding.number, finding.severity) == (longer / 100, severity)
    sizes = [3] * longer + [1] * (100 - longer) + [2] * 100
    correlation = np.corrcoef(sizes, [1] * 100 + [0] * 100)[0, 1]
    assert finding.message.endswith(f"being long correlate with {correlation:.2f}")


def test_indistinct_pairs_and_special_words() -> None:
    splits = {"train": [pair(f"{n} asks") for n in range(3)]}
    same = EncodedPair(splits["train"][0].id, (1,), (2,), (2,))
    tokens = [same, *tokens_of(splits["train"][1:], special_words=2)]
    codes = {f.code: f.number for f in audit(splits, {"train": tokens}, 512)}
    assert codes["indistinct"] == 1
    assert codes["special_words"] == 2


def test_small_splits() -> None:
    splits = {"train": [], "select": [pair("a"), pair("b")], "final": [pair("c")]}
    tokens = {split: tokens_of(pairs) for split, pairs in splits.items()}
    codes = {f.code: f for f in audit(splits, tokens, 512)}
    assert codes["small_select"].number == 2
    assert codes["small_select"].message == (
        "pairs (2 prompts) in `select`; use at least 100. The standard error of an accuracy on them "
        "is 35.4 points"
    )
    assert codes["small_select"].remedy == "add data, or raise data.select_fraction"
    assert "50.0 points" in codes["small_final"].message


def test_severe_findings_come_first() -> None:
    both = [pair("Is it safe?", "yes", "no"), pair("Is it safe?", "no", "yes")] * 10
    order = [f.severity for f in by_severity(findings_in({**SPLITS, "train": both}).values())]
    assert order == sorted(order, key=(SEVERE, WARNING, INFO).index)


def test_percentiles_of_lengths() -> None:
    pairs = [EncodedPair(str(n), (1,) * n, (1,), (1, 2)) for n in range(1, 102)]
    assert length_percentiles(TokenTable.of(pairs))["prompt"] == {
        "p5": 6,
        "p50": 51,
        "p95": 96,
        "p99": 100,
        "p100": 101,
    }
