"""Each format of data files, written here and read back; and each way in which a file can be wrong."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpo_core.errors import DataError
from dpo_core.preferences import load_pairs
from tests.support.preference_rows import (
    LINE,
    ROW,
    ROWS,
    content_of,
    load_error,
    refused,
    write_jsonl,
)

CSV = b"prompt,chosen,rejected\nIs it safe?,No.,Sure.\n"


@pytest.fixture
def expected(tmp_path: Path) -> list[tuple[Any, ...]]:
    return content_of(load_pairs(str(write_jsonl(tmp_path / "expected" / "pairs.jsonl"))))


# Formats


def test_jsonl(expected: list[tuple[Any, ...]]) -> None:
    assert [item[1][0]["content"] for item in expected] == [
        row["prompt"][0]["content"] for row in ROWS
    ]
    assert len({item[0] for item in expected}) == len(ROWS)


def test_lines_are_counted_from_one(tmp_path: Path) -> None:
    assert [pair.line for pair in load_pairs(str(write_jsonl(tmp_path / "a.jsonl")))] == [
        1,
        2,
        3,
        4,
        5,
    ]


@pytest.mark.parametrize("wrap", [list, lambda rows: {"version": 1, "data": rows}])
def test_json(tmp_path: Path, expected: list[tuple[Any, ...]], wrap: Any) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(wrap(ROWS), indent=2), "utf-8")
    assert content_of(load_pairs(str(path))) == expected


def test_parquet(tmp_path: Path, expected: list[tuple[Any, ...]]) -> None:
    from pyarrow import Table, parquet

    path = tmp_path / "pairs.PARQUET"
    parquet.write_table(Table.from_pylist(ROWS), path, row_group_size=2)
    pairs = load_pairs(str(path))
    assert content_of(pairs) == expected
    assert [pair.line for pair in pairs] == [1, 2, 3, 4, 5]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_csv_of_messages(tmp_path: Path, expected: list[tuple[Any, ...]]) -> None:
    rows = [
        {
            name: json.dumps(value) if isinstance(value, list) else value
            for name, value in row.items()
        }
        for row in ROWS
    ]
    assert content_of(load_pairs(str(write_csv(tmp_path / "pairs.csv", rows)))) == expected


def test_csv_of_text(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": "Two\nlines?",
            "chosen": 'Say "yes", or',
            "rejected": "no",
            "note": "[{ not read",
        },
        {"prompt": "Q", "chosen": "A", "rejected": "B", "note": ""},
    ]
    first, second = load_pairs(str(write_csv(tmp_path / "pairs.csv", rows)))
    assert (first.prompt, first.chosen, first.rejected) == ("Two\nlines?", 'Say "yes", or', "no")
    assert (first.line, second.line) == (2, 4)


def test_blank_lines_at_the_end_are_allowed(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl")
    path.write_text(path.read_text("utf-8").replace("\n", "\r\n") + "\n  \n", "utf-8")
    assert len(load_pairs(str(path))) == len(ROWS)


@pytest.mark.parametrize("ending", [b"\r\n", b"\n", b""])
def test_line_endings_and_an_unfinished_last_line_are_fine(tmp_path: Path, ending: bytes) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(LINE + b"\r\n" + LINE + ending)
    assert [pair.line for pair in load_pairs(str(path))] == [1, 2]


# Errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"a": 1}',
            ": 0 lists in {'a': 1}; a .json file is one list of objects, or an object holding one "
            "such list (one object a line is .jsonl)",
        ),
        ("[]", ": holds no rows; it must hold at least one preference pair"),
        (
            '["a"]',
            ", item 1: 'a' must be a JSON object with the keys prompt, chosen and rejected",
        ),
        ('[\n{"a": NaN}]', ": NaN is not JSON; write a number, a string or null"),
        (
            "[{},\n{}\n{}]",
            ":3: invalid JSON at column 1 (Expecting ',' delimiter); correct the line",
        ),
    ],
)
def test_wrong_json(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(text)
    assert load_error(path) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,prompt\na,b\n", ":1: two columns have the same name (prompt, prompt); rename one"),
        (
            'prompt,chosen,rejected\n"a\nb",c,d\na,b,c,d\n',
            ":4: 4 cells under 3 columns; quote cells that hold commas, quotes or line breaks",
        ),
        (
            'prompt,chosen,rejected\na,"b"c,d\n',
            ":2: ',' expected after '\"'; correct the row, or use .jsonl",
        ),
        (
            "prompt,chosen,rejected\na,[{'role': 1}],d\n",
            ":2: invalid JSON at column 3 (Expecting property name enclosed in double quotes); "
            "correct the line (a cell of chosen that begins with [{ is read as JSON messages)",
        ),
        ("prompt,chosen,rejected\n", ": holds no rows; it must hold at least one preference pair"),
        (
            "prompt,chosen,rejected\n\na,,c\n",
            ":3: chosen: the answer is empty; fill it or drop the row",
        ),
    ],
)
def test_wrong_csv(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    assert load_error(path) == message


def test_wrong_parquet(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    message = load_error(path)
    assert message.startswith(": cannot be read as Parquet (")
    assert message.endswith("); write it again")


def test_a_wrong_parquet_row_is_named(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    path = tmp_path / "pairs.parquet"
    parquet.write_table(Table.from_pylist([*ROWS, ROWS[0] | {"rejected": None}]), path)
    assert load_error(path).startswith(", row 6: rejected: None is null")


def test_an_unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl.gz").write_bytes(b"x")
    assert load_error(tmp_path / "pairs.jsonl.gz") == (
        ": ending '.gz' is not one of .jsonl, .json, .parquet, .csv; "
        "convert the file (or unpack it) first"
    )


def test_a_compressed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(b"0" * 10**7))
    assert "ending '.gz' is not one of" in refused(path)
    disguised = tmp_path / "pairs.jsonl"
    disguised.write_bytes(path.read_bytes())
    assert "is not UTF-8" in refused(disguised)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(st.integers(0, len(LINE) - 1), st.binary(min_size=1, max_size=4)).map(
            lambda cut: LINE[: cut[0]] + cut[1] + LINE[cut[0] :]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from([*ROW, "role", "content"]), inner, max_size=4)
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(content)
    said = ""
    try:
        assert load_pairs(str(path))
    except DataError as error:
        said = str(error)
    assert not said or said.startswith(str(path))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from([".csv", ".json", ".parquet"]),
    st.one_of(
        st.binary(max_size=200),
        st.text(st.sampled_from('abc,"\r\n[{}]: \x00é'), max_size=60).map(str.encode),
        st.tuples(st.integers(0, 40), st.binary(max_size=3)).map(
            lambda cut: CSV[: cut[0]] + cut[1] + CSV[cut[0] :]
        ),
    ),
)
def test_other_kinds_are_read_or_refused_too(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"pairs{ending}"
    path.write_bytes(content)
    said = ""
    try:
        assert load_pairs(str(path))
    except DataError as error:
        said = str(error)
    assert not said or said.startswith(str(path))


def test_a_table_that_is_damaged_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    rows = [{**ROW, "prompt": f"{n}: is it safe?"} for n in range(5000)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert len(load_pairs(str(path))) == 5000
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + b"\xff" * 64 + whole[middle + 64 :])
    assert "cannot be read as Parquet" in refused(path)
