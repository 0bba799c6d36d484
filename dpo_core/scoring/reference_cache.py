"""Reference log-probs: computed once, stored, and checked to be whole before they are used.

The key changes with everything the numbers depend on (weights, tokens, dtype, device, pairs) and with
nothing else: a sweep over β, learning rate, seed or LoRA rank finds the same entry, and so does the
next sweep on the same data and model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.encoding.token_table import EncodedPair, TokenTable
from dpo_core.storage.json_content import DamagedJson, decode_json
from dpo_core.storage.store import Store

COLUMNS = (
    "chosen",
    "rejected",
    "chosen_tokens",
    "rejected_tokens",
    "chosen_head",
    "rejected_head",
)
Columns = dict[str, npt.NDArray[Any]]  # (pairs,) each: sums in nats, lengths in tokens
_MANIFEST, _TABLE = "manifest.json", "logps.parquet"


def reference_key(
    pairs: Sequence[EncodedPair],
    *,
    weights: str,
    tokenizer: str,
    max_tokens: int,
    dtype: str,
    device: str,
    rows: str,
) -> str:
    """Return the key of a cache entry, 32 hexadecimal digits.

    Args:
        pairs: The encoded pairs; their ids, tokens and order count.
        weights: Fingerprint of the reference's weights.
        tokenizer: Fingerprint of its tokenizer.
        max_tokens: The longest sequence before truncation.
        dtype: The dtypes of the reference's weights and of its computation.
        device: The kind of device that it runs on.
        rows: How pairs are packed into rows; empty where that moves no number.

    Returns:
        The first half of a SHA-256.
    """
    parts = [weights, tokenizer, str(max_tokens), dtype, device, rows]
    parts.append(TokenTable.of(pairs).fingerprint())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def prompt_sharing_key(pairs: Sequence[EncodedPair], *depends_on: str) -> str:
    """Return the key under which it is kept whether prompts can be shared (see `prompt_sharing`).

    `depends_on` names what decides it beside the pairs: weights, dtype, versions.
    """
    return hashlib.sha256(
        "\0".join([*depends_on, TokenTable.of(pairs).fingerprint()]).encode()
    ).hexdigest()[:32]


def load_or_compute(
    store: Store,
    key: str,
    pairs: Sequence[EncodedPair],
    compute: Callable[[], Columns],
) -> tuple[Columns, bool]:
    """Load a whole entry, or compute and save it.

    Several processes may call this at once: one computes, the others wait for the lock and load.

    Args:
        store: Where entries are kept.
        key: The entry's key.
        pairs: The pairs that the entry must cover, in order.
        compute: Called when there is no whole entry; returns the columns for `pairs`.

    Returns:
        The columns, and whether they had to be computed.

    Raises:
        ValueError: The computed columns miss a pair or hold a number that is not finite.
    """
    with store.lock(f"{key}.lock"):
        cached = load(store, key, pairs)
        if cached is not None:
            return cached, False
        columns = compute()
        save(store, key, pairs, columns)
        return columns, True


def load(
    store: Store, key: str, pairs: Sequence[EncodedPair], sha256: str | None = None
) -> Columns | None:
    """Load an entry if it is whole: manifest present, digest right, pairs the same, values finite.

    Args:
        store: Where entries are kept.
        key: The entry's key.
        pairs: The pairs that the entry must cover, in order.
        sha256: What `entry_sha256` returned earlier, where it must be that very entry.

    Returns:
        The columns, or None for an entry that is missing or not whole.
    """
    try:
        manifest = decode_json(store.read(f"{key}/{_MANIFEST}"))
        content = store.read(f"{key}/{_TABLE}")
    except (FileNotFoundError, DamagedJson):
        return None
    digest = hashlib.sha256(content).hexdigest()
    if not isinstance(manifest, dict) or manifest.get("sha256") != digest:
        return None
    if sha256 not in (None, digest):
        return None
    table = pq.read_table(pa.BufferReader(content))
    if not {"id", *COLUMNS} <= set(table.column_names):  # written by another version
        return None
    columns = {name: table[name].to_numpy() for name in COLUMNS}
    same_rows = table["id"].equals(TokenTable.of(pairs).table["id"])
    return columns if same_rows and _finite(columns) else None


def entry_sha256(store: Store, key: str) -> str:
    """Return the digest of an entry's numbers. Raises FileNotFoundError."""
    return store.sha256(f"{key}/{_TABLE}")


def save(store: Store, key: str, pairs: Sequence[EncodedPair], columns: Columns) -> None:
    """Save an entry; nobody reads it before it is complete.

    Args:
        store: Where entries are kept.
        key: The entry's key.
        pairs: The pairs, in the order of the columns.
        columns: One value per pair in each of `COLUMNS`.

    Raises:
        ValueError: A value is missing or not finite.
    """
    if any(len(columns[name]) != len(pairs) for name in COLUMNS) or not _finite(columns):
        raise ValueError("the reference gives no finite log-probability for every pair")
    ids = TokenTable.of(pairs).table["id"]
    table = pa.table({"id": ids, **{name: columns[name] for name in COLUMNS}})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content = sink.getvalue().to_pybytes()
    manifest = {"pairs": len(pairs), "sha256": hashlib.sha256(content).hexdigest()}
    store.write(f"{key}/{_TABLE}", content)
    # The manifest is written last: without it the entry does not exist.
    store.write(f"{key}/{_MANIFEST}", json.dumps(manifest).encode())


def margins(columns: Columns) -> npt.NDArray[np.float64]:
    """Compute log π(y_w) − log π(y_l) of each pair, nats, (pairs,)."""
    difference: npt.NDArray[np.float64]
    difference = columns["chosen"].astype(np.float64) - columns["rejected"].astype(np.float64)
    return difference


def root_mean_square(values: npt.NDArray[np.float64]) -> float:
    """Compute √(mean of squares); 0 for no values."""
    return float(np.sqrt(np.mean(values**2))) if len(values) else 0.0


def _finite(columns: Columns) -> bool:
    return all(bool(np.isfinite(columns[name]).all()) for name in COLUMNS)
