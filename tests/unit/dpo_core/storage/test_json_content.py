"""What is wrong with a JSON file, in words: every cut of a real one is told from other damage."""

from __future__ import annotations

import json

import pytest

from dpo_core.storage.json_content import DamagedJson, decode_json

CONTENT = {
    "name": 'Grüße, "quoted" \\ ü',
    "numbers": [1, -2.5, 1e-7, 0],
    "literals": [True, False, None],
    "nested": {"empty": {}, "list": []},
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_beginning_of_a_file_is_cut_off(indent: int | None, ascii_only: bool) -> None:
    content = json.dumps(CONTENT, indent=indent, ensure_ascii=ascii_only).encode()
    assert decode_json(content) == CONTENT
    for length in range(1, len(content)):
        with pytest.raises(DamagedJson, match=r"^is cut off$"):
            decode_json(content[:length])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (bytes(40), "is not JSON"),  # what a disk may hold after its power was cut
        (b"not what it was", "is not JSON"),
        (b'{"a": 1}{"b": 2}', "is not JSON"),
        (b'{"a": \xff}', "is not JSON"),
        (b'{"a": 1,}', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_other_damage_has_its_own_words(content: bytes, problem: str) -> None:
    with pytest.raises(DamagedJson, match=f"^{problem}$"):
        decode_json(content)
