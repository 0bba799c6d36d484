"""Files and lines that are not strict JSON or UTF-8 give one clear error, in bounded memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpo_core.preferences.files.strict_json import MAX_LINE_BYTES
from tests.support.preference_rows import LINE, ROW, ROWS, load_error, refused


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a" 1}', ":2: invalid JSON at column 6 (Expecting ':' delimiter); correct the line"),
        ('{"a": 1, "a": 2}', ":2: key 'a' occurs twice in one object; keep one of them"),
        ("[1]", ":2: [1] must be a JSON object with the keys of a row"),
        ('{"prompt": NaN, "chosen": "a", "rejected": "b"}', ":2: prompt: None is null"),
        (
            '{"prompt": -Infinity, "chosen": "a", "rejected": "b"}',
            ":2: prompt: -inf is of type float",
        ),
        ("[" * 100_000, ":2: JSON is nested too deeply; a row has strings or lists of messages"),
        ('{"prompt": "a", "chosen": "b"}', ":2: missing column `rejected` (found: prompt, chosen)"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    good = json.dumps(ROWS[0])
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{good}\n{line}\n{good}\n")
    assert load_error(path).startswith(message)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", ": the file is empty; it must hold at least one preference pair"),
        (b"\n \n", ": the file is empty; it must hold at least one preference pair"),
        (b"\xef\xbb\xbf", ": the file is empty; it must hold at least one preference pair"),
        (
            b'{"prompt":"a","chosen":"b","rejected":"c"}\n{"a": "\xe9"}',
            ":2: byte 0xe9 is not UTF-8; save the file as UTF-8",
        ),
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
def test_bytes_that_are_no_text(tmp_path: Path, ending: str, raw: bytes, message: str) -> None:
    path = tmp_path / f"pairs{ending}"
    # A line of CSV is read before the next one is looked at.
    path.write_bytes(raw.replace(b'"', b"'") if ending == ".csv" else raw)
    assert load_error(path) == message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (LINE[:-1], ":2: invalid JSON"),  # torn
        (b'{"prompt": "a\x00b", "chosen": "b", "rejected": "c"}', ":2: invalid JSON"),
        (
            b'{"prompt": "a\\u0000b", "chosen": "b", "rejected": "c"}',
            ":2: prompt: 'a\\x00b' holds a",
        ),
        (b'{"prompt": "\\ud800", "chosen": "b", "rejected": "c"}', ":2: prompt: character 1"),
        (b'{"prompt": 1, "chosen": "b", "rejected": "c"}', ":2: prompt: 1 is of type int"),
        (b'{"prompt": "a", "chosen": ["b"], "rejected": "c"}', ":2: chosen, message 1"),
        (b'{"prompt": "a", "chosen": 1e999, "rejected": "c"}', ":2: chosen: inf is of type float"),
        (b"1" * 5000, ":2: "),
        (b'{"a":' * 20_000, ":2: JSON is nested too deeply"),
    ],
)
def test_lines_that_hurt(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(LINE + b"\n" + line + b"\n" + LINE)
    assert refused(path).startswith(said)


def test_a_line_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    with path.open("wb") as file:
        file.write(LINE + b"\n")
        file.truncate(100 * 2**20)  # a sparse file: the rest is one line of null bytes
    assert refused(path).startswith(f":2: longer than {MAX_LINE_BYTES // 2**20} MiB")


def test_a_value_too_large_to_be_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpo_core.preferences.files.strict_json.MAX_WHOLE_BYTES", 2**20)
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([ROW] * 20_000))
    assert "larger than 1 MiB" in refused(path)
