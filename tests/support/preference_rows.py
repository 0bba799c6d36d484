"""Rows of preference data, and files of them, for tests of the modules that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences import PreferencePair, load_pairs

ASK = {"role": "user", "content": "How much water a day?"}

SYSTEM = {"role": "system", "content": "You are a pharmacist."}

GOOD = {"role": "assistant", "content": "About two litres."}

BAD = {"role": "assistant", "content": "None."}

TEXT_ROW = {"prompt": ASK["content"], "chosen": GOOD["content"], "rejected": BAD["content"]}

CHAT_ROW = {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]}

ROW = {"prompt": "Is it safe?", "chosen": "No.", "rejected": "Sure."}
LINE = json.dumps(ROW).encode()

ROWS = [
    {
        "prompt": [{"role": "user", "content": f"Question {n}, “so”?"}],
        "chosen": [{"role": "assistant", "content": f'Yes, "{n}".\nSee\u2028line {n}.'}],
        "rejected": [{"role": "assistant", "content": "No."}],
        "category": "even" if n % 2 == 0 else None,
    }
    for n in range(5)
]


def content_of(pairs: list[PreferencePair]) -> list[tuple[Any, ...]]:
    return [(pair.id, pair.prompt, pair.chosen, pair.rejected, pair.category) for pair in pairs]


def write_jsonl(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def load_error(path: Path | str, split: str = "train") -> str:
    """The message of a source that is refused: without the path, with which it must begin, and without
    what it says of the other rows."""
    with pytest.raises(DataError) as caught:
        load_pairs(str(path), split=split)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for others in ("; 1 bad row in all", "; every row of", "; none of the first"):
        message = message.partition(others)[0]
    return message.removeprefix(str(path))


def refused(path: Path) -> str:
    """As `load_error`, for hostile files: of their text a message shows a part only."""
    message = load_error(path)
    assert len(message.splitlines()) == 1
    assert len(f"{path}{message}") < 500
    return message
