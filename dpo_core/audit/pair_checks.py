"""Checks of preference data that need no model, made before a sweep trains on it.

The checks are pure: they take pairs and tokens and return findings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dpo_core.audit.findings import (
    INFO,
    SEVERE,
    SHOWN,
    WARNING,
    Finding,
    Locations,
    by_severity,
    examples,
)
from dpo_core.audit.formatted_text import AS_CHAT, TextUse, formatted_texts
from dpo_core.audit.same_content import repeats_and_contradictions
from dpo_core.audit.template_checks import template_findings
from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.preferences.pairs import PreferencePair, location, normalized_question
from dpo_core.preferences.table import PairTable

Splits = Mapping[str, Sequence[PreferencePair]]
Tokens = Mapping[str, Sequence[EncodedPair]]

CUT_WARNING, CUT_SEVERE = 0.05, 0.25
LONGER_WINS_WARNING = 0.65
ALIKE_WARNING, LARGE_GROUP_WARNING, LEAK_SEVERE = 0.1, 0.2, 0.05
FEW_PAIRS = 100
# A suggested max_tokens keeps this share of pairs uncut, and is a multiple of this number.
_ENOUGH, _STEP_OF_MAX_TOKENS = 0.99, 64


def audit(splits: Splits, tokens: Tokens, max_tokens: int, use: TextUse = AS_CHAT) -> list[Finding]:
    """Run all checks of pairs and their tokens.

    Args:
        splits: The pairs of each split.
        tokens: The encoded pairs of each split, in the same order.
        max_tokens: The most tokens of prompt and longer answer, to which the pairs were cut.
        use: What encoding did with the texts.

    Returns:
        Findings, severe ones first.
    """
    tables = {split: PairTable.of(pairs) for split, pairs in splits.items()}
    encoded = TokenTable.concatenate(map(TokenTable.of, tokens.values()))
    locations = Locations(list(tables.values()))
    findings = [
        *_cut(encoded, max_tokens, locations),
        *_longer_wins(encoded),
        *repeats_and_contradictions(tables.values(), locations),
        *_near_duplicates(tables),
        *_indistinct(encoded, locations),
        *formatted_texts(tables.values(), use),
        *template_findings(encoded, locations),
        *_special_words(encoded, locations),
        *_small_splits(tables),
    ]
    return by_severity(findings)


def length_percentiles(encoded: TokenTable) -> dict[str, dict[str, float]]:
    """Return percentiles of the numbers of tokens, by part (prompt, chosen, rejected) and level."""
    levels = (5, 50, 95, 99, 100)
    return {
        part: {f"p{level}": float(np.percentile(column, level)) for level in levels}
        for part, column in encoded.lengths.items()
    }


def _cut(encoded: TokenTable, max_tokens: int, locations: Locations) -> Iterator[Finding]:
    if not encoded.cut.any():
        return
    share = float(encoded.cut.mean())
    severity = SEVERE if share > CUT_SEVERE else WARNING if share > CUT_WARNING else INFO
    yield Finding(
        "cut",
        severity,
        share,
        f"of pairs are longer than data.max_tokens ({max_tokens}) and are cut "
        f"({_kinds_of_cuts(encoded)})",
        _larger_max_tokens(encoded, max_tokens),
        examples(encoded.cut, locations),
        is_share=True,
    )


def _kinds_of_cuts(encoded: TokenTable) -> str:
    kinds = {
        "oldest turns of": "cut_turns",
        "the start of the last turn of": "cut_question",
        "the ends of answers of": "cut_answers",
    }
    counts = {words: int((encoded.column(name) > 0).sum()) for words, name in kinds.items()}
    return ", ".join(f"{words} {count:,}" for words, count in counts.items() if count)


def _larger_max_tokens(encoded: TokenTable, max_tokens: int) -> str:
    """Return a remedy: larger values of max_tokens, with the share of pairs that each keeps uncut."""
    lengths = encoded.uncut_lengths
    full = np.sort(lengths["prompt"] + np.maximum(lengths["chosen"], lengths["rejected"]))
    enough = int(full[math.ceil(_ENOUGH * len(full)) - 1])
    if enough <= max_tokens:
        every = _rounded_up(int(full[-1]))
        return f"nothing: they are few; data.max_tokens: {every} would keep all pairs uncut"
    enough, double = _rounded_up(enough), _rounded_up(2 * max_tokens)
    remedy = f"data.max_tokens: {enough} would keep at least 99 % of all pairs uncut"
    if double < enough:
        remedy += f", {double} at least {math.floor(100 * np.mean(full <= double))} %"
    return remedy


def _rounded_up(tokens: int) -> int:
    return math.ceil(tokens / _STEP_OF_MAX_TOKENS) * _STEP_OF_MAX_TOKENS


def _longer_wins(encoded: TokenTable) -> Iterator[Finding]:
    """Report how often the longer answer is chosen, before or after cutting, whichever is worse.

    Training sees the cut answers, and the held-out texts that people read are the whole ones.
    """
    before = _share_of_longer(encoded.uncut_lengths)
    after = _share_of_longer(encoded.lengths)
    shares = [share for share in (before, after) if share is not None]
    if not shares:
        return
    share = max(shares, key=lambda share: abs(share - 0.5))
    lengths = encoded.lengths if share == after else encoded.uncut_lengths
    both = np.concatenate([lengths["chosen"], lengths["rejected"]])
    correlation = np.corrcoef(both, np.repeat([1.0, 0.0], len(encoded)))[0, 1]
    reached, word = max(share, 1 - share), "longer" if share >= 0.5 else "shorter"
    yield Finding(
        "longer_wins",
        WARNING if reached >= LONGER_WINS_WARNING else INFO,
        share,
        f"of pairs of unequal length have the longer answer as the chosen one{_cuts(before, after)}: "
        f"a policy that looks at length alone and prefers the {word} answer reaches {reached:.2f}; "
        f"being chosen and being long correlate with {correlation:.2f}",
        "search length_norm: [none, mean], and read the length slices of every score",
        is_share=True,
    )


def _share_of_longer(lengths: Mapping[str, npt.NDArray[np.int64]]) -> float | None:
    """Return the share of chosen answers that are the longer ones, or None if all lengths are equal."""
    gap = lengths["chosen"] - lengths["rejected"]
    return float(np.mean(gap[gap != 0] > 0)) if gap.any() else None


def _cuts(before: float | None, after: float | None) -> str:
    if before == after:
        return ""
    shown = ("none" if share is None else f"{100 * share:.1f} %" for share in (before, after))
    return " ({} before cutting to data.max_tokens, {} after)".format(*shown)


def _near_duplicates(tables: Mapping[str, PairTable]) -> Iterator[Finding]:
    """Report prompt groups in two splits, groups of several prompts, and one that is very large."""
    pairs_of = {
        split: dict(zip(table.groups.names, np.bincount(table.groups.of_pair), strict=True))
        for split, table in tables.items()
    }
    yield from _leaks(tables)
    prompts = {split: _prompts_of_large_groups(table) for split, table in tables.items()}
    alike = [
        f"{members[0]} and {other}"
        for groups in prompts.values()
        for members in groups.values()
        for other in members[1:]
    ]
    count = len(alike) + sum(map(len, pairs_of.values()))
    if alike:
        yield Finding(
            "alike",
            WARNING if len(alike) > ALIKE_WARNING * count else INFO,
            len(alike),
            "prompts are nearly the same as another one; those that are count as one in tests and "
            "intervals, so there are fewer different prompts than it seems",
            "drop near duplicates, or collect other prompts",
            tuple(alike[:SHOWN]),
        )
    split, group, share = _largest_group(pairs_of)
    if share > LARGE_GROUP_WARNING:
        members = prompts[split].get(group, [])
        yield Finding(
            "large_group",
            WARNING,
            share,
            "of pairs are in one group of prompts, which are nearly the same or are joined by others "
            f"in between, and so in one split ({split}) and one observation of every test",
            "collect other prompts; where many follow one pattern, data.min_similarity: 0.9 keeps "
            "those apart whose words differ",
            tuple(members[:SHOWN]),
            is_share=True,
        )


def _leaks(tables: Mapping[str, PairTable]) -> Iterator[Finding]:
    """Report groups in two splits, which only splits with files of their own can have."""
    splits = Counter(name for table in tables.values() for name in table.groups.names)
    first: dict[str, str] = {}
    leaks: list[str] = []
    for split, table in tables.items():
        is_shared = [splits[name] > 1 for name in table.groups.names]
        for pair in table.take(table.groups.first[is_shared]):
            here = f"{location(pair)} ({split})"
            if first.setdefault(pair.group, here) != here:
                leaks.append(f"{first[pair.group]} and {here}")
    if leaks:
        yield Finding(
            "near_duplicates",
            SEVERE if len(leaks) > LEAK_SEVERE * len(splits) else WARNING,
            len(leaks),
            "times a held-out prompt is nearly the same as one of another split, which makes results "
            "look better than they are",
            "drop or merge near duplicates",
            tuple(leaks[:SHOWN]),
        )


def _prompts_of_large_groups(table: PairTable) -> dict[str, list[str]]:
    """Return where the first pair of each prompt stands, by group, for groups of several pairs.

    Prompts of the same words are one prompt, as they are for `split_pairs`.
    """
    groups = table.groups
    in_large = np.flatnonzero(np.bincount(groups.of_pair)[groups.of_pair] > 1)
    prompts: dict[str, dict[str, str]] = {}
    for pair in table.take(in_large):
        of_group = prompts.setdefault(pair.group, {})
        of_group.setdefault(normalized_question(pair.prompt), location(pair))
    return {group: list(locations.values()) for group, locations in prompts.items()}


def _largest_group(pairs_of: Mapping[str, Mapping[str, int]]) -> tuple[str, str, float]:
    """Return split and name of the group of most pairs, and its share of all pairs."""
    total = sum(sum(counts.values()) for counts in pairs_of.values())
    count, split, group = max(
        (count, split, group)
        for split, counts in pairs_of.items()
        for group, count in counts.items()
    )
    return split, group, float(count / total)


def _indistinct(encoded: TokenTable, locations: Locations) -> Iterator[Finding]:
    same = ~encoded.distinct
    if same.any():
        yield Finding(
            "indistinct",
            WARNING,
            int(same.sum()),
            "pairs have the same tokens on both sides after cutting; they teach nothing and count as "
            "ties",
            "raise data.max_tokens",
            examples(same, locations),
        )


def _special_words(encoded: TokenTable, locations: Locations) -> Iterator[Finding]:
    spelled = encoded.column("special_words") > 0
    if spelled.any():
        yield Finding(
            "special_words",
            INFO,
            int(spelled.sum()),
            "pairs spell out special tokens of the tokenizer; these are kept as plain text",
            "check whether they are left-over markup or an attempt to inject a turn",
            examples(spelled, locations),
        )


def _small_splits(tables: Mapping[str, PairTable]) -> Iterator[Finding]:
    for split in ("select", "final"):
        count = len(tables[split]) if split in tables else 0
        if count < FEW_PAIRS:
            groups = len(tables[split].groups.names) if split in tables else 0
            error = 50 / max(1, count) ** 0.5
            yield Finding(
                f"small_{split}",
                WARNING,
                count,
                f"pairs ({groups} prompts) in `{split}`; use at least {FEW_PAIRS}. The standard error "
                f"of an accuracy on them is {error:.1f} points",
                f"add data, or raise data.{split}_fraction",
            )
