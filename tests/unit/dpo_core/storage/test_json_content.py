"""What is wrong with a JSON file, in words: every cut of a real one is told from other damage."""

from __future__ import annotations

import json

import pytest

from dpo_core.storage.json_content import DamagedJson, decode_json, encode_json

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


@pytest.mark.parametrize("whole", [CONTENT, [{"a": 1}, {"a": [0.1, "ü"]}], {"nan": float("inf")}])
def test_what_is_written_is_read_without_the_digests(whole: object) -> None:
    for indent in (None, 2):
        content = encode_json(whole, indent=indent)
        assert b"content_sha256" in content
        assert decode_json(content) == whole


def test_every_changed_bit_changes_nothing_or_is_noticed() -> None:
    content = encode_json([{"text": "Grüße", "n": 2.5}, CONTENT])
    unnoticed = 0
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        try:
            unnoticed += decode_json(bytes(damaged)) == decode_json(content)
        except DamagedJson:
            continue
        assert decode_json(bytes(damaged)) == decode_json(content), bytes(damaged)
    assert unnoticed < 100, "a space that became a line, say"


def test_a_changed_digest_and_a_file_without_one() -> None:
    content = encode_json({"a": 1})
    assert decode_json(b'{"a": 1}') == {"a": 1}, "as earlier versions wrote it"
    for changed in (content.replace(b"1", b"2", 1), content.replace(b"content_", b"Content_")):
        with pytest.raises(
            DamagedJson, match=r"^is not what was written \(content_sha256 does not"
        ):
            decode_json(changed)


def test_numbers_as_keys_and_half_characters_are_written() -> None:
    assert decode_json(encode_json({10: 1, 9: 2, "half": "\ud83d"})) == {
        "10": 1,
        "9": 2,
        "half": "\ud83d",
    }
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json({"a": float("nan")}, allow_nan=False)
