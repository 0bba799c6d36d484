"""Each format of data files, written here and read back; and each way in which a file can be wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
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
            ", item 1: 'a' must be a JSON object with the keys of a row",
        ),
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
            "prompt,chosen,rejected\na,\"[{'role': 'user', 'content': 'b'}]\",d\n",
            ":2: chosen: \"[{'role': 'user', 'content': 'b'}]\" is a list of messages as Python prints "
            "it, which is not JSON; write the column with json.dumps",
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


ENDINGS = ".jsonl, .json, .parquet, .csv, .tsv, and all but .parquet with .gz or .zst behind it"


@pytest.mark.parametrize("name", ["pairs.jsonl.bz2", "pairs.parquet.gz", "pairs.txt", "pairs"])
def test_an_unknown_ending(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert load_error(tmp_path / name) == (
        f": ending {Path(name).suffix!r} is not one of {ENDINGS}; convert the file first"
    )


# What programs write


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + LINE,
        LINE + b"\n\n \t \n",
        b"\n" + LINE + b"\n",
        LINE + b"\r\n\r\n",
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_marks_and_blank_lines_hold_no_row(tmp_path: Path, text: bytes, ending: str) -> None:
    path = tmp_path / f"pairs{ending}"
    path.write_bytes(text if ending == ".jsonl" else text.replace(LINE, b"[" + LINE + b"]"))
    [pair] = load_pairs(str(path))
    assert (pair.prompt, pair.chosen, pair.rejected) == tuple(ROW.values())


def test_blank_lines_between_rows_are_counted_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(LINE + b"\n\n  \n" + LINE)
    assert [pair.line for pair in load_pairs(str(path))] == [1, 4]


def test_lines_in_a_file_called_json(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_bytes(LINE + b"\n" + LINE)
    assert [pair.line for pair in load_pairs(str(path))] == [1, 2]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_has_not_in_columns_that_are_not_used(
    tmp_path: Path, number: str
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(ROW)[:-1] + f', "confidence": {number}}}')
    assert len(load_pairs(str(path))) == 1


def test_nan_in_a_parquet_column_that_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    rows = [{**ROW, "confidence": value, "category": value} for value in (float("nan"), 2.0)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert [pair.category for pair in load_pairs(str(path))] == [None, "2"]


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ";"), (".csv", "\t"), (".tsv", "\t")])
def test_cells_between_other_delimiters(tmp_path: Path, ending: str, delimiter: str) -> None:
    path = tmp_path / f"pairs{ending}"
    rows = [["prompt", "chosen", "rejected"], ["a, b; c\td", 'say "no"', "two\nlines"]]
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    [pair] = load_pairs(str(path))
    assert [pair.prompt, pair.chosen, pair.rejected] == rows[1]


def test_names_of_columns_with_delimiters_in_quotes(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('"a;b;c;d",prompt,chosen,rejected\n1,p,x,y\n')
    assert load_pairs(str(path))[0].prompt == "p"


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_messages_as_json_strings(
    tmp_path: Path, expected: list[tuple[Any, ...]], ending: str
) -> None:
    rows = [
        {key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()}
        for row in ROWS
    ]
    path = tmp_path / f"pairs{ending}"
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == ".csv":
        write_csv(path, rows)
    else:
        write_jsonl(path, rows)
    assert content_of(load_pairs(str(path))) == expected


# Compressed files


def compressed(path: Path, content: bytes) -> Path:
    """Write a file that is compressed as its ending says."""
    name = {".gz": "gzip", ".zst": "zstd"}[path.suffix]
    path.write_bytes(pa.compress(content, codec=name, asbytes=True))
    return path


@pytest.mark.parametrize("compression", [".gz", ".zst"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".JSONL"])
def test_compressed_files(tmp_path: Path, ending: str, compression: str) -> None:
    content = {".json": b"[" + LINE + b"]", ".csv": CSV}.get(ending, LINE)
    path = compressed(tmp_path / f"pairs{ending}{compression}", content)
    assert [pair.prompt for pair in load_pairs(str(path))] == ["Is it safe?"]


@pytest.mark.parametrize("compression", [".gz", ".zst"])
def test_files_that_are_compressed_in_parts(tmp_path: Path, compression: str) -> None:
    path = compressed(tmp_path / f"pairs.jsonl{compression}", LINE + b"\n")
    path.write_bytes(path.read_bytes() * 3)
    assert [pair.line for pair in load_pairs(str(path))] == [1, 2, 3]


@pytest.mark.parametrize("compression", [".gz", ".zst"])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: b"no such file" + raw])
def test_damaged_compressed_files(tmp_path: Path, compression: str, damage: Any) -> None:
    path = compressed(tmp_path / f"pairs.jsonl{compression}", (LINE + b"\n") * 999)
    path.write_bytes(damage(path.read_bytes()))
    message = refused(path)
    assert message.startswith(": cannot be unpacked (")
    assert message.endswith("); compress it again")


@pytest.mark.parametrize("compression", [".gz", ".zst"])
def test_what_unpacks_to_far_too_much_is_not_unpacked_to_its_end(
    tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpo_core.preferences.files.unpack.MAX_UNPACKED_BYTES", 2**20)
    bomb = compressed(tmp_path / f"pairs.jsonl{compression}", (LINE + b"\n") * 2**16)
    assert bomb.stat().st_size < 2**15
    assert refused(bomb).endswith(
        " MiB or more, over 100 times its size, as no text does; write it again from its source"
    )
    as_text = tmp_path / "pairs.jsonl"
    as_text.write_bytes(bomb.read_bytes())
    assert "is not UTF-8" in refused(as_text)


# Parquet that unpacks to far too much


def test_a_long_value_that_every_row_names(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 1000), pa.array(["x" * 9_000_000]))
    pq.write_table(
        pa.table({"prompt": ["a"] * 1000, "chosen": long, "rejected": ["c"] * 1000}),
        path,
        compression="zstd",
    )
    assert path.stat().st_size < 2**12
    assert ": unpacks to " in refused(path)


def test_a_long_value_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    rows = [{**ROW, "chosen": [{"role": "assistant", "content": "x" * 300_000}] * 300}]
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    assert ": unpacks to " in refused(path)


def test_a_cell_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    noise = np.random.default_rng(0).bytes(9 * 2**20).hex()
    pq.write_table(pa.Table.from_pylist([{**ROW, "chosen": noise}]), path)
    assert refused(path) == (
        ": a value has 18 MiB, more than 16; a row holds one pair, so break it into rows"
    )


def test_many_nulls(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    nulls = pa.array([[None] * 5_000_000], pa.list_(pa.string()))
    pq.write_table(pa.table({"prompt": ["a"], "chosen": nulls, "rejected": ["b"]}), path)
    assert ": holds 5000002 values in " in refused(path)


def test_values_that_begin_like_those_before_them(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    rows = [{**ROW, "chosen": "x" * 1_000_000 + f"{n:05}"} for n in range(100)]
    pq.write_table(
        pa.Table.from_pylist(rows),
        path,
        use_dictionary=False,
        column_encoding={"chosen": "DELTA_BYTE_ARRAY"},
    )
    assert path.stat().st_size < 2**17
    assert ": unpacks to " in refused(path)


def test_one_long_answer_among_short_ones_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    rows = [
        {**ROW, "prompt": f"{n}", "chosen": "no" * 100_000 * (n == 7) or "n"} for n in range(5000)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert len(load_pairs(str(path))) == 5000


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
    st.sampled_from([".csv", ".tsv", ".json", ".parquet", ".jsonl.gz", ".jsonl.zst"]),
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
