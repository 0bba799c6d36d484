"""Each planted defect is found, counted and located; clean data give no finding."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dpo_core.audit.findings import INFO, SEVERE, WARNING, by_severity
from dpo_core.audit.pair_checks import audit, length_percentiles
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


SPELLINGS = {
    "new line": ("Is it safe?\n", " yes\n", "no \n"),
    "case": ("IS IT SAFE?", "Yes", "NO"),
    "end": ("Is it safe", "yes.", "no!"),
    "form": ("\uff29s it\u00a0safe\uff1f", "y\uff45s", "no\u3002"),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_repeats_and_contradictions_in_another_spelling(spelling: tuple[str, str, str]) -> None:
    prompt, yes, no = spelling
    first = pair("Is it safe?", "yes", "no")
    same = findings_in({**SPLITS, "train": [first, pair(prompt, yes, no)]})
    assert same["repeated"].number == 1
    assert "contradicting" not in same
    opposite = findings_in({**SPLITS, "train": [first, pair(prompt, no, yes)]})
    assert opposite["contradicting"].number == 1
    assert "repeated" not in opposite


def test_a_pair_of_one_answer_in_two_spellings_is_told_and_contradicts_nothing() -> None:
    shouted = [pair("Write it in capitals.", "YES.", "yes"), pair("Once more.", "yes", "YES")]
    findings = findings_in({**SPLITS, "train": shouted})
    assert set(findings) == {"same_words"}
    assert (findings["same_words"].number, findings["same_words"].severity) == (2, INFO)


def test_one_answer_in_two_spellings_that_are_preferred_both_ways_is_a_contradiction() -> None:
    pairs = [pair("Write it.", "YES", "yes"), pair("Write it.", "yes\n", "YES")]
    findings = findings_in({**SPLITS, "train": pairs})
    assert {code: finding.number for code, finding in findings.items()} == {
        "contradicting": 1,
        "same_words": 2,
    }


def test_tools_and_settings_are_part_of_a_question() -> None:
    one = pair("Is it safe?", "yes", "no")
    other = replace(pair("Is it safe?", "no", "yes"), tools=({"name": "look_up"},))
    assert findings_in({**SPLITS, "train": [one, other]}) == {}


def grouped(*prompts: str) -> list[PreferencePair]:
    """Pairs of one group, as `split_pairs` leaves those that are nearly the same."""
    return [replace(pair(prompt), group="near", line=n) for n, prompt in enumerate(prompts, 1)]


def test_a_group_in_two_splits_is_a_leak() -> None:
    first, second = grouped("Is it safe now?", "Is it safe?")
    finding = findings_in({**SPLITS, "train": [first], "final": [second]})["near_duplicates"]
    assert (finding.number, finding.severity) == (1, WARNING)
    assert finding.places == ("data:1 (train) and data:2 (final)",)
    many = [replace(pair(f"{n} is asked"), group=f"g{n}") for n in range(40)]
    splits = {**SPLITS, "train": many, "final": many}
    assert findings_in(splits)["near_duplicates"].severity == SEVERE


def test_prompts_of_one_group_count_once() -> None:
    findings = findings_in(
        {**SPLITS, "select": grouped("Is it?", "Is it not?", "Is it?", "Is it so?")}
    )
    assert set(findings) == {"alike", "repeated"}
    assert (findings["alike"].number, findings["alike"].severity) == (2, INFO)
    assert findings["alike"].places == ("data:1 and data:2", "data:1 and data:4")
    many = grouped(*(f"{n} is asked" for n in range(100)))
    assert findings_in({**SPLITS, "train": many})["alike"].severity == WARNING


@pytest.mark.parametrize(("size", "is_large"), [(112, False), (113, True)])
def test_one_group_with_a_fifth_of_all_pairs(size: int, is_large: bool) -> None:
    findings = findings_in({**SPLITS, "train": grouped(*(f"{n} is asked" for n in range(size)))})
    assert ("large_group" in findings) == is_large
    if is_large:
        finding = findings["large_group"]
        assert (finding.severity, finding.is_share) == (WARNING, True)
        assert finding.number == pytest.approx(size / (450 + size))
        assert "(train)" in finding.message
        assert finding.places[:2] == ("data:1", "data:2")


def test_cut_pairs_say_what_would_keep_them() -> None:
    splits = {"train": [pair(f"{n} asks") for n in range(200)]}
    tokens = tokens_of(splits["train"][:120]) + tokens_of(splits["train"][120:], cut_prompt=996)
    (finding,) = [f for f in audit(splits, {"train": tokens}, 512) if f.code == "cut"]
    assert (finding.number, finding.severity, finding.is_share) == (0.4, SEVERE, True)
    assert finding.remedy == "data.max_tokens: 1024 would keep at least 99 % of all pairs uncut"
    (finding,) = [f for f in audit(splits, {"train": tokens}, 256) if f.code == "cut"]
    assert finding.remedy.endswith("99 % of all pairs uncut, 512 at least 60 %")


@pytest.mark.parametrize("max_tokens", [16, 100, 500, 512, 1000])
def test_a_suggested_max_tokens_is_larger_and_rounded(max_tokens: int) -> None:
    splits = {"train": [pair(f"{n} asks") for n in range(200)]}
    for cut in (1, 40, 900):  # few, many or all of the pairs are cut by that many tokens
        for count in (1, 50, 200):
            tokens = tokens_of(splits["train"][count:])
            tokens += [
                EncodedPair(p.id, (1,) * (max_tokens - 2), (3, 4), (5, 6), cut_prompt=cut)
                for p in splits["train"][:count]
            ]
            (finding,) = [
                f for f in audit(splits, {"train": tokens}, max_tokens) if f.code == "cut"
            ]
            suggested = [int(n) for n in re.findall(r"max_tokens: (\d+)", finding.remedy)]
            assert suggested[0] >= max_tokens + cut
            assert suggested[0] % 64 == 0


def test_few_cut_pairs_are_no_reason_for_a_larger_max_tokens() -> None:
    splits = {"train": [pair(f"{n} asks") for n in range(200)]}
    tokens = tokens_of(splits["train"][:199]) + tokens_of(splits["train"][199:], cut_prompt=996)
    (finding,) = [f for f in audit(splits, {"train": tokens}, 512) if f.code == "cut"]
    assert finding.remedy == (
        "nothing: they are few; data.max_tokens: 1024 would keep all pairs uncut"
    )


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


@pytest.mark.parametrize(
    ("length", "cut", "number"),
    [((9, 3), 0, 1.0), ((3, 3), 6, 1.0), ((2, 3), 6, 1.0), ((9, 3), 6, 1.0), ((2, 3), 1, 0.0)],
)
def test_longer_wins_is_the_worse_of_before_and_after_cutting(
    length: tuple[int, int], cut: int, number: float
) -> None:
    splits = {"train": [pair(f"{n} asks") for n in range(100)]}
    chosen, rejected = ((1,) * tokens for tokens in length)
    tokens = [
        EncodedPair(p.id, (1,), chosen, rejected, cut_answers=cut, cut_chosen=cut)
        for p in splits["train"]
    ]
    (finding,) = [f for f in audit(splits, {"train": tokens}, 512) if f.code == "longer_wins"]
    assert (finding.number, finding.severity) == (number, WARNING)


def test_longer_wins_tells_both_measures() -> None:
    splits = {"train": [pair(f"{n} asks") for n in range(100)]}
    # Before cutting, 80 of 100 chosen answers are the longer ones; after it, 50.
    tokens = [
        EncodedPair(p.id, (1,), (2,) * (4 if n < 50 else 2), (3,) * 3)
        if n < 50 or n >= 80
        else EncodedPair(p.id, (1,), (2,) * 2, (3,) * 3, cut_answers=5, cut_chosen=5)
        for n, p in enumerate(splits["train"])
    ]
    (finding,) = [f for f in audit(splits, {"train": tokens}, 512) if f.code == "longer_wins"]
    assert (finding.number, finding.severity) == (0.8, WARNING)
    assert "(80.0 % before cutting to data.max_tokens, 50.0 % after)" in finding.message


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
