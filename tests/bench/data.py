"""A million short pairs, read, split, encoded, audited and checked by digests in bounded memory.

Pairs a second of CPU, and the most memory. Each step is a process of its own, which maps what the step
before it left.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from tests.bench.table import Row

PAIRS = 1_000_000
# Most memory of reading the file beyond that of the imports, against the file.
GOAL_MEMORY = 3.0


def write_pairs(path: Path, count: int) -> int:
    """Bytes of a file of that many pairs, of about 20, 12 and 10 words; all of them different."""
    rng = random.Random(0)
    # Prompts of a few words would all be nearly the same.
    demo = (files("sweeps.demo") / "pharmacy.jsonl").read_text("utf-8")
    vocabulary = sorted(set(re.findall("[a-z]{3,}", demo)))

    def words(number: int) -> str:
        return " ".join(rng.choices(vocabulary, k=number))

    with path.open("w") as file:
        for number in range(count):
            row = {
                "prompt": f"Question {number}: {words(14)}?",
                "chosen": f"Please ask: {words(7)} {number}.",
                "rejected": f"Never mind, {words(5)}.",
            }
            file.write(json.dumps(row) + "\n")
    return path.stat().st_size


def measure(scratch: Path, tokenizer: Path, count: int = PAIRS) -> dict[str, Any]:
    """Pairs, and of every step its seconds, those of CPU (a busy machine changes them little), and
    its most bytes."""
    scratch.mkdir(parents=True, exist_ok=True)
    size = write_pairs(scratch / "pairs.jsonl", count)
    steps = {step: _run(step, scratch, tokenizer) for step in ("imports", *_STEPS)}
    return {"pairs": count, "file_bytes": size, "steps": steps}


def rows(raw: dict[str, Any]) -> list[Row]:
    found = []
    for step in _STEPS:
        took = raw["steps"][step]
        rate = raw["pairs"] / took["cpu_seconds"]
        found.append(Row(f"data: {step}, a second of CPU", rate, unit="pairs"))
    most = {step: took["most_bytes"] for step, took in raw["steps"].items()}
    ratio = (most["read"] - most["imports"]) / raw["file_bytes"]
    found.append(
        Row("data: read, memory, of the file", ratio, sign="<", goal=GOAL_MEMORY, of="ours")
    )
    # What is mapped counts too while memory is free.
    found.append(Row("data: most memory of a step", max(most.values()) / 2**20, unit="MiB"))
    return found


def _run(step: str, scratch: Path, tokenizer: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.data", step, str(scratch), str(tokenizer)]
    # As Ray's workers have it.
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# What runs in a process of its own


def _read(scratch: Path, tokenizer: Any) -> None:
    from dpo_core.preferences import PairTable, load_data
    from dpo_core.settings import SourceSettings

    loaded = load_data([SourceSettings(path=str(scratch / "pairs.jsonl"))])
    PairTable.write(loaded.pairs, scratch / "pairs.arrow")


def _split(scratch: Path, tokenizer: Any) -> None:
    from dpo_core.preferences import PairTable, split_pairs
    from dpo_core.preferences.split import SPLITS

    table = PairTable.open(scratch / "pairs.arrow")
    splits = split_pairs(table, seed=0, select_fraction=0.1, final_fraction=0.1)
    for name in SPLITS:
        PairTable.write(getattr(splits, name), scratch / f"{name}.arrow")


def _encode(scratch: Path, tokenizer: Any) -> None:
    from dpo_core.encoding.encode import encode
    from dpo_core.encoding.token_table import TokenTable
    from dpo_core.preferences import PairTable, as_chat

    for name in ("train", "select", "final"):
        pairs = map(as_chat, PairTable.open(scratch / f"{name}.arrow"))
        TokenTable.write(encode(pairs, tokenizer, 512), scratch / f"{name}-tokens.arrow")


def _audit(scratch: Path, tokenizer: Any) -> None:
    from dpo_core.audit.pair_checks import audit
    from dpo_core.encoding.token_table import TokenTable
    from dpo_core.preferences import PairTable

    names = ("train", "select", "final")
    splits = {name: PairTable.open(scratch / f"{name}.arrow") for name in names}
    tokens = {name: TokenTable.open(scratch / f"{name}-tokens.arrow") for name in names}
    audit(splits, tokens, 512)


def _check_digests(scratch: Path, tokenizer: Any) -> None:
    from dpo_core.storage.file_digests import file_sha256

    for name in ("train", "select", "final"):
        for file in (f"{name}.arrow", f"{name}-tokens.arrow"):
            file_sha256(scratch / file)


_STEPS: dict[str, Callable[[Path, Any], None]] = {
    "read": _read,
    "split": _split,
    "encode": _encode,
    "audit": _audit,
    "check digests": _check_digests,
}


def _step(name: str, scratch: Path, folder: str) -> dict[str, Any]:
    from transformers import AutoTokenizer

    import dpo_core.audit.pair_checks
    import dpo_core.encoding.encode
    import dpo_core.preferences  # noqa: F401

    tokenizer = AutoTokenizer.from_pretrained(folder)
    begun, cpu_begun = time.perf_counter(), time.process_time()
    if name in _STEPS:
        _STEPS[name](scratch, tokenizer)
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
    # The peak of this program; `ru_maxrss` would begin with that of the process it was forked from.
    status = Path("/proc/self/status").read_text()
    most = 1024 * int(re.findall(r"VmHWM:\s+(\d+)", status)[0])
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "most_bytes": most}


if __name__ == "__main__":
    print(json.dumps(_step(sys.argv[1], Path(sys.argv[2]), sys.argv[3])))
