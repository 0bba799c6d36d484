"""What is wrong with preference data, found before a GPU hour is spent. Pure: pairs in, findings out.

Each finding has a severity, its number, places of examples and a remedy. `severe` means that what a
sweep reports would be false or that it learns nothing; `warning`, that a number should be read with
care; `info`, that it is good to know.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dpo_core.encode import EncodedPair
from dpo_core.preferences.pairs import PreferencePair, chat_answer, chat_prompt

INFO, WARNING, SEVERE = "info", "warning", "severe"
Splits = Mapping[str, Sequence[PreferencePair]]
Tokens = Mapping[str, Sequence[EncodedPair]]
Columns = Mapping[str, Any]

CUT_WARNING, CUT_SEVERE = 0.05, 0.25
LONGER_WINS_WARNING = 0.65
NEAR_DUPLICATE = 0.7  # Jaccard similarity of word triples
FEW_PAIRS = 100
OUT_OF_DISTRIBUTION_WARNING = 0.1
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """`number` is a count, or a share in [0, 1] when `is_share`; `places` are examples."""

    code: str
    severity: str
    number: float
    message: str
    remedy: str = ""
    places: tuple[str, ...] = ()
    is_share: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "places": list(self.places)}


def audit(splits: Splits, tokens: Tokens, max_tokens: int) -> list[Finding]:
    """Everything that pairs and their tokens tell; severe findings first."""
    pairs = [pair for split in splits.values() for pair in split]
    encoded = [pair for split in tokens.values() for pair in split]
    places = {pair.id: place(pair) for pair in pairs}
    found = [
        *_cut(encoded, max_tokens, places),
        *_longer_wins(encoded),
        *_repeated(pairs),
        *_contradicting(pairs),
        *_near_duplicates(splits),
        *_indistinct(encoded, places),
        *_special_words(encoded, places),
        *_small_splits(splits),
    ]
    return by_severity(found)


def audit_reference(encoded: Sequence[EncodedPair], reference: Columns) -> list[Finding]:
    """What the reference model's log-probs of these pairs add."""
    chosen = reference["chosen"] / reference["chosen_tokens"]
    rejected = reference["rejected"] / reference["rejected_tokens"]
    right = float(np.mean(reference["chosen"] > reference["rejected"]))
    # What people wrote and preferred says how unlikely an answer may be.
    limit = float(np.quantile(chosen, 0.01))
    out = rejected < limit
    share = float(np.mean(out))
    examples = tuple(f"pair {encoded[i].id}" for i in np.flatnonzero(out)[:_SHOWN])
    return [
        Finding(
            "reference_ranks_right",
            INFO,
            right,
            "of pairs the untouched model already finds the chosen answer more likely",
            is_share=True,
        ),
        Finding(
            "mean_logp",
            INFO,
            float(np.mean(rejected)),
            f"nats a token on average for rejected answers, {np.mean(chosen):.2f} for chosen ones",
        ),
        Finding(
            "out_of_distribution",
            WARNING if share > OUT_OF_DISTRIBUTION_WARNING else INFO,
            share,
            f"of rejected answers are less likely a token than 99 % of the chosen ones "
            f"(below {limit:.2f} nats): they give hardly any gradient",
            "use golden answers against the model's own (data.sources, kind: golden)",
            examples,
            is_share=True,
        ),
    ]


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    order = (SEVERE, WARNING, INFO)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def lengths(encoded: Sequence[EncodedPair]) -> dict[str, dict[str, float]]:
    """Percentiles of the tokens of prompt, chosen and rejected."""
    parts = ("prompt", "chosen", "rejected")
    columns = {part: [len(getattr(pair, part)) for pair in encoded] for part in parts}
    levels = (5, 50, 95, 99, 100)
    return {
        part: {f"p{level}": float(np.percentile(column, level)) for level in levels}
        for part, column in columns.items()
    }


def place(pair: PreferencePair) -> str:
    return f"{pair.source or 'data'}:{pair.line}"


def _cut(
    encoded: Sequence[EncodedPair], max_tokens: int, places: Mapping[str, str]
) -> Iterator[Finding]:
    cut = [pair for pair in encoded if pair.cut_prompt or pair.cut_answers]
    if not cut:
        return
    share = len(cut) / len(encoded)
    full = sorted(
        len(p.prompt) + max(len(p.chosen), len(p.rejected)) + p.cut_prompt + p.cut_answers
        for p in encoded
    )
    # Both answers' cuts are counted together, so this is enough and may be more than enough.
    enough = full[math.ceil(0.99 * len(full)) - 1]
    severity = SEVERE if share > CUT_SEVERE else WARNING if share > CUT_WARNING else INFO
    yield Finding(
        "cut",
        severity,
        share,
        f"of pairs are longer than data.max_tokens ({max_tokens}) and are cut",
        f"data.max_tokens: {enough} would keep at least 99 % of all pairs whole",
        tuple(places[pair.id] for pair in cut[:_SHOWN]),
        is_share=True,
    )


def _longer_wins(encoded: Sequence[EncodedPair]) -> Iterator[Finding]:
    gap = np.array([len(pair.chosen) - len(pair.rejected) for pair in encoded])
    unequal = gap[gap != 0]
    if not len(unequal):
        return
    share = float(np.mean(unequal > 0))
    lopsided = max(share, 1 - share) >= LONGER_WINS_WARNING
    word = "longer" if share >= 0.5 else "shorter"
    yield Finding(
        "longer_wins",
        WARNING if lopsided else INFO,
        share,
        "of pairs of unequal length have the longer answer as the chosen one: a policy that looks "
        f"at nothing but length, and likes the {word}, reaches {max(share, 1 - share):.2f}",
        "search length_norm: [none, mean], and read the length slices of every score",
        is_share=True,
    )


def _repeated(pairs: Sequence[PreferencePair]) -> Iterator[Finding]:
    # The loader ends the id of the n-th identical pair in -n.
    repeats = [pair for pair in pairs if "-" in pair.id]
    if repeats:
        yield Finding(
            "repeated",
            WARNING if len(repeats) > 0.01 * len(pairs) else INFO,
            len(repeats),
            "pairs repeat another one word for word; each counts once more",
            "drop them, or give a source a weight instead",
            tuple(map(place, repeats[:_SHOWN])),
        )


def _contradicting(pairs: Sequence[PreferencePair]) -> Iterator[Finding]:
    seen: dict[tuple[str, str, str], PreferencePair] = {}
    both: list[str] = []
    for pair in pairs:
        sides = chat_prompt(pair.prompt), chat_answer(pair.chosen), chat_answer(pair.rejected)
        prompt, chosen, rejected = map(str, sides)
        other = seen.get((prompt, rejected, chosen))
        if other is not None:
            both.append(f"{place(other)} and {place(pair)}")
        seen[prompt, chosen, rejected] = pair
    if both:
        yield Finding(
            "contradicting",
            SEVERE if len(both) > 0.01 * len(pairs) else WARNING,
            len(both),
            "times the same two answers are preferred both ways",
            "let a majority decide, or drop both",
            tuple(both[:_SHOWN]),
        )


def _near_duplicates(splits: Splits) -> Iterator[Finding]:
    """Prompt groups that say nearly the same and went to different splits."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=NEAR_DUPLICATE, num_perm=128)
    known: dict[str, tuple[str, PreferencePair]] = {}
    leaks: list[str] = []
    for split, pairs in splits.items():
        for pair in pairs:
            if pair.group in known:
                continue
            sketch = MinHash(num_perm=128)
            sketch.update_batch(list(_shingles(pair)))
            for group in sorted(index.query(sketch)):
                other_split, other = known[group]
                if other_split != split:
                    leaks.append(f"{place(other)} ({other_split}) and {place(pair)} ({split})")
            index.insert(pair.group, sketch)
            known[pair.group] = split, pair
    if leaks:
        share = len(leaks) / len(known)
        yield Finding(
            "near_duplicates",
            SEVERE if share > 0.05 else WARNING,
            len(leaks),
            "times a held-out prompt is nearly the same as one of another split, which flatters "
            "what is reported",
            "drop or merge near duplicates",
            tuple(leaks[:_SHOWN]),
        )


def _shingles(pair: PreferencePair) -> Iterator[bytes]:
    question = next(m["content"] for m in chat_prompt(pair.prompt) if m["role"] == "user")
    words = question.casefold().split()
    for start in range(max(1, len(words) - 2)):
        yield " ".join(words[start : start + 3]).encode()


def _indistinct(encoded: Sequence[EncodedPair], places: Mapping[str, str]) -> Iterator[Finding]:
    same = [pair for pair in encoded if not pair.distinct]
    if same:
        yield Finding(
            "indistinct",
            WARNING,
            len(same),
            "pairs have the same tokens on both sides after cutting; they cannot be learnt and "
            "count as ties",
            "raise data.max_tokens",
            tuple(places[pair.id] for pair in same[:_SHOWN]),
        )


def _special_words(encoded: Sequence[EncodedPair], places: Mapping[str, str]) -> Iterator[Finding]:
    spelled = [pair for pair in encoded if pair.special_words]
    if spelled:
        yield Finding(
            "special_words",
            INFO,
            len(spelled),
            "pairs spell special tokens of the tokenizer; they are kept as plain text",
            "look at them: markup that was left in, or somebody's trick",
            tuple(places[pair.id] for pair in spelled[:_SHOWN]),
        )


def _small_splits(splits: Splits) -> Iterator[Finding]:
    groups: dict[str, set[str]] = defaultdict(set)
    for split, pairs in splits.items():
        groups[split] |= {pair.group for pair in pairs}
    for split in ("select", "final"):
        count = len(splits.get(split, ()))
        if count < FEW_PAIRS:
            error = 50 / max(1, count) ** 0.5
            yield Finding(
                f"small_{split}",
                WARNING,
                count,
                f"pairs of {len(groups[split])} prompts in {split}: one accuracy has a standard "
                f"error of {error:.1f} points",
                f"add data, or raise data.{split}_fraction; {FEW_PAIRS} pairs are a start",
            )
