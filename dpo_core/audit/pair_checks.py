"""Checks of preference data that need no model, made before a sweep trains on it.

The checks are pure: they take pairs and tokens and return findings. A finding has a severity, a
number, the locations of examples and a remedy. `severe` means that results of a sweep would be wrong
or that it could learn nothing, `warning` that a result must be read with care, and `info` that the
finding is good to know.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.preferences.pairs import PreferencePair, chat_answer, chat_prompt, prompt_group
from dpo_core.preferences.table import PairTable

INFO, WARNING, SEVERE = "info", "warning", "severe"
Splits = Mapping[str, Sequence[PreferencePair]]
Tokens = Mapping[str, Sequence[EncodedPair]]

CUT_WARNING, CUT_SEVERE = 0.05, 0.25
LONGER_WINS_WARNING = 0.65
ALIKE_WARNING, LARGE_GROUP_WARNING, LEAK_SEVERE = 0.1, 0.2, 0.05
FEW_PAIRS = 100
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    `number` is a count, or a share in [0, 1] if `is_share`. `message` continues the sentence that the
    number begins. `places` are locations of examples.
    """

    code: str
    severity: str
    number: float
    message: str
    remedy: str = ""
    places: tuple[str, ...] = ()
    is_share: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON content."""
        return {**asdict(self), "places": list(self.places)}


def audit(splits: Splits, tokens: Tokens, max_tokens: int) -> list[Finding]:
    """Run all checks of pairs and their tokens.

    Args:
        splits: The pairs of each split.
        tokens: The encoded pairs of each split, in the same order.
        max_tokens: The most tokens of prompt and longer answer, to which the pairs were cut.

    Returns:
        Findings, severe ones first.
    """
    tables = {split: PairTable.of(pairs) for split, pairs in splits.items()}
    encoded = TokenTable.concatenate(map(TokenTable.of, tokens.values()))
    locations = _Locations(list(tables.values()))
    findings = [
        *_cut(encoded, max_tokens, locations),
        *_longer_wins(encoded),
        *_repeated(encoded, locations),
        *_contradicting(tables.values(), locations),
        *_near_duplicates(tables),
        *_indistinct(encoded, locations),
        *_special_words(encoded, locations),
        *_small_splits(tables),
    ]
    return by_severity(findings)


class _Locations:
    """The locations from which pairs were read; indices count over all splits, one after the other."""

    def __init__(self, tables: Sequence[PairTable]) -> None:
        self.tables = tables
        self.ends = np.cumsum([len(table) for table in tables])

    def __getitem__(self, index: int) -> str:
        number = int(np.searchsorted(self.ends, index, side="right"))
        table = self.tables[number]
        return location(table[int(index - self.ends[number] + len(table))])


def _examples(mask: npt.NDArray[np.bool_], locations: _Locations) -> tuple[str, ...]:
    """Return the first few locations at which the mask is set."""
    return tuple(locations[int(i)] for i in np.flatnonzero(mask)[:_SHOWN])


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with severe ones first, then warnings, then information."""
    order = (SEVERE, WARNING, INFO)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def length_percentiles(encoded: TokenTable) -> dict[str, dict[str, float]]:
    """Return percentiles of the numbers of tokens, by part (prompt, chosen, rejected) and level."""
    levels = (5, 50, 95, 99, 100)
    return {
        part: {f"p{level}": float(np.percentile(column, level)) for level in levels}
        for part, column in encoded.lengths.items()
    }


def location(pair: PreferencePair) -> str:
    """Return the source and line from which a pair was read."""
    return f"{pair.source or 'data'}:{pair.line}"


def _cut(encoded: TokenTable, max_tokens: int, locations: _Locations) -> Iterator[Finding]:
    if not encoded.cut.any():
        return
    share = float(encoded.cut.mean())
    cuts = encoded.column("cut_prompt") + encoded.column("cut_answers")
    full = np.sort(encoded.sequence_lengths + cuts)
    # Both answers' cuts are counted together, so this is enough and may be more than enough.
    enough = full[math.ceil(0.99 * len(full)) - 1]
    severity = SEVERE if share > CUT_SEVERE else WARNING if share > CUT_WARNING else INFO
    yield Finding(
        "cut",
        severity,
        share,
        f"of pairs are longer than data.max_tokens ({max_tokens}) and are cut",
        _larger_max_tokens(full, max_tokens, int(enough)),
        _examples(encoded.cut, locations),
        is_share=True,
    )


def _larger_max_tokens(full: npt.NDArray[np.int64], max_tokens: int, enough: int) -> str:
    """Return a remedy: the share of pairs of these lengths that larger values of max_tokens keep."""
    remedy = f"data.max_tokens: {enough} would keep at least 99 % of all pairs uncut"
    if 2 * max_tokens < enough:
        remedy += f", {2 * max_tokens} at least {100 * np.mean(full <= 2 * max_tokens):.0f} %"
    return remedy


def _longer_wins(encoded: TokenTable) -> Iterator[Finding]:
    gap = encoded.lengths["chosen"] - encoded.lengths["rejected"]
    unequal = gap[gap != 0]
    if not len(unequal):
        return
    share = float(np.mean(unequal > 0))
    lopsided = max(share, 1 - share) >= LONGER_WINS_WARNING
    word = "longer" if share >= 0.5 else "shorter"
    lengths = np.concatenate([encoded.lengths["chosen"], encoded.lengths["rejected"]])
    is_chosen = np.repeat([1.0, 0.0], len(encoded))
    yield Finding(
        "longer_wins",
        WARNING if lopsided else INFO,
        share,
        "of pairs of unequal length have the longer answer as the chosen one: a policy that looks at "
        f"length alone and prefers the {word} answer reaches {max(share, 1 - share):.2f}; being "
        f"chosen and being long correlate with {np.corrcoef(lengths, is_chosen)[0, 1]:.2f}",
        "search length_norm: [none, mean], and read the length slices of every score",
        is_share=True,
    )


def _repeated(encoded: TokenTable, locations: _Locations) -> Iterator[Finding]:
    # The id of the n-th identical pair ends in -n; see number_repeats.
    repeats = pc.match_substring(encoded.table["id"], "-").to_numpy()
    count = int(repeats.sum())
    if count:
        yield Finding(
            "repeated",
            WARNING if count > 0.01 * len(encoded) else INFO,
            count,
            "pairs repeat another one word for word; each repetition counts again",
            "drop them, or give a source a weight instead",
            _examples(repeats, locations),
        )


def _contradicting(tables: Iterable[PairTable], locations: _Locations) -> Iterator[Finding]:
    # 64 bits stand for each text, because there may be millions of texts.
    digests = (digest for table in tables for pair in table for digest in _digests(pair))
    own, opposite = np.fromiter(digests, np.uint64).reshape(-1, 2).T
    opposed = np.flatnonzero(np.isin(own, opposite)).tolist()
    first = {int(own[i]): i for i in reversed(opposed)}
    both = [(first[int(opposite[j])], j) for j in opposed if first[int(opposite[j])] < j]
    if both:
        yield Finding(
            "contradicting",
            SEVERE if len(both) > 0.01 * len(own) else WARNING,
            len(both),
            "times the same two answers are preferred both ways",
            "let a majority decide, or drop both",
            tuple(f"{locations[i]} and {locations[j]}" for i, j in both[:_SHOWN]),
        )


def _digests(pair: PreferencePair) -> tuple[int, int]:
    """Return a number for the pair as it is, and one for the pair with its answers swapped."""
    prompt, chosen, rejected = (
        str(side)
        for side in (chat_prompt(pair.prompt), chat_answer(pair.chosen), chat_answer(pair.rejected))
    )
    texts = (f"{prompt}\0{chosen}\0{rejected}", f"{prompt}\0{rejected}\0{chosen}")
    one, other = (hashlib.blake2b(t.encode(), digest_size=8).digest() for t in texts)
    return int.from_bytes(one, "big"), int.from_bytes(other, "big")


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
            tuple(alike[:_SHOWN]),
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
            tuple(members[:_SHOWN]),
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
            tuple(leaks[:_SHOWN]),
        )


def _prompts_of_large_groups(table: PairTable) -> dict[str, list[str]]:
    """Return where the first pair of each prompt stands, by group, for groups of several pairs."""
    groups = table.groups
    in_large = np.flatnonzero(np.bincount(groups.of_pair)[groups.of_pair] > 1)
    prompts: dict[str, dict[str, str]] = {}
    for pair in table.take(in_large):
        of_group = prompts.setdefault(pair.group, {})
        of_group.setdefault(prompt_group(chat_prompt(pair.prompt)), location(pair))
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


def _indistinct(encoded: TokenTable, locations: _Locations) -> Iterator[Finding]:
    same = ~encoded.distinct
    if same.any():
        yield Finding(
            "indistinct",
            WARNING,
            int(same.sum()),
            "pairs have the same tokens on both sides after cutting; they teach nothing and count as "
            "ties",
            "raise data.max_tokens",
            _examples(same, locations),
        )


def _special_words(encoded: TokenTable, locations: _Locations) -> Iterator[Finding]:
    spelled = encoded.column("special_words") > 0
    if spelled.any():
        yield Finding(
            "special_words",
            INFO,
            int(spelled.sum()),
            "pairs spell out special tokens of the tokenizer; these are kept as plain text",
            "check whether they are left-over markup or an attempt to inject a turn",
            _examples(spelled, locations),
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
