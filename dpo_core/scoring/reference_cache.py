"""Reference log-probs: computed once, kept, and proved whole before they are used.

The key moves with everything the numbers depend on (weights, tokens, dtype, rows) and with nothing
else: a sweep over β, learning rate, seed or LoRA rank finds the same entry, and so does the next
sweep on the same data and model.
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
from dpo_core.storage.store import Store

COLUMNS = (
    "chosen",
    "rejected",
    "chosen_tokens",
    "rejected_tokens",
    "chosen_head",
    "rejected_head",
)
Columns = dict[str, npt.NDArray[Any]]
_MANIFEST, _TABLE = "manifest.json", "logps.parquet"


def reference_key(
    pairs: Sequence[EncodedPair], *, weights: str, tokenizer: str, max_tokens: int, dtype: str
) -> str:
    """sha256 hex. `weights` and `tokenizer` are fingerprints; rows count in order and content."""
    parts = [weights, tokenizer, str(max_tokens), dtype, TokenTable.of(pairs).fingerprint()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def prompt_sharing_key(pairs: Sequence[EncodedPair], *about: str) -> str:
    """sha256 hex of what decides whether prompts can be shared (see `sharing`)."""
    return hashlib.sha256(
        "\0".join([*about, TokenTable.of(pairs).fingerprint()]).encode()
    ).hexdigest()[:32]


def load_or_compute(
    store: Store,
    key: str,
    pairs: Sequence[EncodedPair],
    compute: Callable[[], Columns],
) -> tuple[Columns, bool]:
    """The columns for `pairs`, in order, and whether they had to be computed.

    Several processes may ask at once: one computes, the others wait and then find the result.
    """
    with store.lock(f"{key}.lock"):
        found = load(store, key, pairs)
        if found is not None:
            return found, False
        columns = compute()
        save(store, key, pairs, columns)
        return columns, True


def load(store: Store, key: str, pairs: Sequence[EncodedPair]) -> Columns | None:
    """None unless the entry is whole: manifest there, digest right, every pair finite."""
    try:
        manifest = json.loads(store.read(f"{key}/{_MANIFEST}"))
        content = store.read(f"{key}/{_TABLE}")
    except (FileNotFoundError, ValueError):
        return None
    if hashlib.sha256(content).hexdigest() != manifest.get("sha256"):
        return None
    table = pq.read_table(pa.BufferReader(content))
    if not {"id", *COLUMNS} <= set(table.column_names):  # written by another version
        return None
    columns = {name: table[name].to_numpy() for name in COLUMNS}
    same_rows = table["id"].equals(TokenTable.of(pairs).table["id"])
    return columns if same_rows and _finite(columns) else None


def save(store: Store, key: str, pairs: Sequence[EncodedPair], columns: Columns) -> None:
    """Raises ValueError on a missing or non-finite value: such a number must never pass."""
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


def _finite(columns: Columns) -> bool:
    return all(bool(np.isfinite(columns[name]).all()) for name in COLUMNS)
