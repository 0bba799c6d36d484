"""Data files made to hurt: each gives one clear line, in bounded memory, and never a traceback."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpo_core.errors import DataError
from dpo_core.preferences import load_pairs
from dpo_core.preferences.strict_json import MAX_LINE_BYTES

GOOD = {"prompt": "Is it safe?", "chosen": "No.", "rejected": "Sure."}
LINE = json.dumps(GOOD).encode()
CSV = b"prompt,chosen,rejected\nIs it safe?,No.,Sure.\n"


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        load_pairs(str(path))
    message = str(error.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1
    assert len(message) < 500, "hostile text is shown in part only"
    return message.removeprefix(str(path))


@pytest.mark.parametrize("ending", [b"\r\n", b"\n", b""])
def test_line_endings_and_an_unfinished_last_line_are_fine(tmp_path: Path, ending: bytes) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(LINE + b"\r\n" + LINE + ending)
    assert [pair.line for pair in load_pairs(str(path))] == [1, 2]


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


def test_a_compressed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(b"0" * 10**7))
    assert "ending '.gz' is not one of" in refused(path)
    disguised = tmp_path / "pairs.jsonl"
    disguised.write_bytes(path.read_bytes())
    assert "is not UTF-8" in refused(disguised)


def test_a_folder_called_like_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "pairs.jsonl"
    folder.mkdir()
    assert refused(folder)


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    link = tmp_path / "pairs.jsonl"
    link.symlink_to(tmp_path / "gone.jsonl")
    assert "no such file or folder" in refused(link)


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
                | st.dictionaries(st.sampled_from([*GOOD, "role", "content"]), inner, max_size=4)
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
    rows = [{**GOOD, "prompt": f"{n}: is it safe?"} for n in range(5000)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert len(load_pairs(str(path))) == 5000
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + b"\xff" * 64 + whole[middle + 64 :])
    assert "cannot be read as Parquet" in refused(path)


def test_a_value_too_large_to_be_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpo_core.preferences.strict_json.MAX_WHOLE_BYTES", 2**20)
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([GOOD] * 20_000))
    assert "larger than 1 MiB" in refused(path)


@pytest.mark.integration
def test_memory_stays_under_three_times_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    text = "a word or two " * 60
    with path.open("w") as file:
        for number in range(80_000):
            row = {"prompt": f"{number} {text}", "chosen": f"{text} {number}", "rejected": text}
            file.write(json.dumps(row) + "\n")
    size = path.stat().st_size
    assert size > 190 * 2**20
    code = (
        "import re, sys\n"
        "from dpo_core.preferences import load_data\n"
        "from dpo_core.settings import SourceSettings\n"
        "data = load_data([SourceSettings(path=sys.argv[1])])\n"
        "assert len(data.pairs) == 80_000\n"
        # The peak of this program; `ru_maxrss` would begin with that of the process it was forked from.
        "status = open('/proc/self/status').read()\n"
        "print(1024 * int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    # Imports and all. The mapped file of pairs counts as far as it was written last.
    assert int(done.stdout) < 3 * size


def test_a_link_out_of_the_folder(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside.jsonl", tmp_path / "data"
    folder.mkdir()
    for file in (outside, folder / "inside.jsonl"):
        file.write_bytes(LINE)
    link = folder / "link.jsonl"
    link.symlink_to(outside)
    assert f"link.jsonl: is a link to {outside}, which is outside" in refused(folder)
    link.unlink()
    link.symlink_to("inside.jsonl")  # one that stays inside is a file like any other
    assert len(load_pairs(str(folder))) == 2
