"""Checks of preference data that need no model, made before a sweep trains on it.

The checks are pure: they take pairs and tokens and return findings. A finding has a severity, a
number, the locations of examples and a remedy. `severe` means that results of a sweep would be wrong
or that it could learn nothing, `warning` that a result must be read with care, and `info` that the
finding is good to know.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.preferences import near_duplicates
from dpo_core.preferences.near_duplicates import first_question
from dpo_core.preferences.pairs import PreferencePair, chat_answer, chat_prompt
from dpo_core.preferences.table import PairTable

INFO, WARNING, SEVERE = "info", "warning", "severe"
Splits = Mapping[str, Sequence[PreferencePair]]
Tokens = Mapping[str, Sequence[EncodedPair]]

CUT_WARNING, CUT_SEVERE = 0.05, 0.25
LONGER_WINS_WARNING = 0.65
ALIKE_WARNING = 0.1
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
    """Report prompts that are nearly the same, in different splits or in one split."""
    # Held-out prompts come first, so that they are compared even where not all prompts are.
    order = sorted(tables, key=lambda split: split == "train")
    firsts = {split: tables[split].take(tables[split].groups.first) for split in order}
    groups = sum(map(len, firsts.values()))
    first_pairs = ((split, pair) for split in order for pair in firsts[split])
    pairs = list(islice(first_pairs, near_duplicates.MAX_PROMPTS))
    leaks: list[str] = []
    alike: list[str] = []
    questions = (first_question(pair.prompt) for _, pair in pairs)
    for position, earlier in enumerate(near_duplicates.similar_earlier(questions)):
        elsewhere = [other for other in earlier if pairs[other][0] != pairs[position][0]]
        if elsewhere:
            both = sorted(
                (pairs[position], pairs[elsewhere[0]]), key=lambda each: each[0] != "train"
            )
            leaks.append(" and ".join(f"{location(pair)} ({split})" for split, pair in both))
        elif earlier:
            alike.append(f"{location(pairs[earlier[0]][1])} and {location(pairs[position][1])}")
    if leaks:
        share = len(leaks) / groups
        yield Finding(
            "near_duplicates",
            SEVERE if share > 0.05 else WARNING,
            len(leaks),
            "times a held-out prompt is nearly the same as one of another split, which makes results "
            "look better than they are",
            "drop or merge near duplicates",
            tuple(leaks[:_SHOWN]),
        )
    if alike:
        yield Finding(
            "alike",
            WARNING if len(alike) > ALIKE_WARNING * groups else INFO,
            len(alike),
            "prompts are nearly the same as another one of their split: there are fewer different "
            "prompts than it seems, and intervals are too narrow",
            "drop near duplicates, or collect other prompts",
            tuple(alike[:_SHOWN]),
        )
    if groups > near_duplicates.MAX_PROMPTS:
        yield Finding(
            "not_compared",
            INFO,
            groups - near_duplicates.MAX_PROMPTS,
            f"prompts beyond the first {near_duplicates.MAX_PROMPTS:,} were compared word for word "
            "only, not for near duplicates",
        )


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
