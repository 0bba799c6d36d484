"""Each hostile data file through `run`: one line that says where and why, and nothing written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dpo_core.preferences import load_data
from dpo_core.settings import SourceSettings
from sweeps.cli import app as cli
from tests.support.repository import ROOT

FOLDER = ROOT / "tests" / "data" / "hostile"
# What follows the file's path.
SAID = {
    "bomb.jsonl.gz": ":1: longer than 16 MiB",
    "bomb.parquet": ": unpacks to 300 MiB",
    "column_of_numbers.jsonl": ":2: chosen: 1 is of type int",
    "conversations_only.jsonl": ":1: columns conversations hold one answer per prompt, which is",
    "deep_nesting.jsonl": ":2: JSON is nested too deeply",
    "duplicate_key.jsonl": ":2: key 'chosen' occurs twice",
    "empty.jsonl": ": the file is empty",
    "empty_answer.jsonl": ":2: rejected: the answer is empty",
    "escaped_null.jsonl": ":2: prompt: 'a\\x00b' holds a null character",
    "foreign_role.jsonl": ":2: prompt, message 1: role 'narrator'",
    "gzip_called_jsonl.jsonl": ":1: byte 0x8b is not UTF-8",
    "half_a_surrogate.jsonl": ":2: prompt: character 1 of '\\ud800' is half a surrogate pair",
    "infinity.jsonl": ":2: chosen: -inf is of type float",
    "instructions_only.jsonl": ":1: columns instruction, output hold one answer per prompt, which is",
    "invalid_utf8.jsonl": ":2: byte 0xe9 is not UTF-8",
    "list_in_a_line.jsonl": ":2: ['a', 'b', 'c'] must be a JSON object",
    "missing_column.jsonl": ":2: missing column `rejected`",
    "nan.jsonl": ":2: prompt: None is null",
    "no_parquet.parquet": ": cannot be read as Parquet",
    "null_byte.jsonl": ":2: invalid JSON at column 14",
    "number.json": ": 0 lists in inf",
    "open_quote.csv": ":2: unexpected end of data",
    "same_answers.jsonl": ":2: chosen and rejected are the same answer ' b'",
    "same_columns.csv": ":1: two columns have the same name",
    "torn_line.jsonl": ":2: invalid JSON at column 37",
    "two_lists.json": ": 2 lists in",
    "utf16.jsonl": ":1: byte 0xff is not UTF-8",
    "wrong_cells.csv": ":3: 2 cells under 3 columns",
    "wrong_type.jsonl": ":2: prompt: {'text': 'a'} is of type dict",
}


SFT = {"conversations_only.jsonl", "instructions_only.jsonl"}


def test_every_file_is_expected_to_say_something() -> None:
    assert sorted(SAID) == sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", SAID)
def test_one_line_exit_code_2_and_nothing_written(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    storage = tmp_path / "runs"
    (tmp_path / "sweep.yaml").write_text(
        f"name: hostile\nstorage: {storage}\nmodel: {{path: no-such-model}}\n"
        f"data: {{path: {FOLDER / name}}}\nspace: lora\ntraining: {{max_steps: 1}}\n"
    )
    monkeypatch.setattr(sys, "argv", ["dpo-sweeps", "run", str(tmp_path / "sweep.yaml")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capfd.readouterr()
    assert (stopped.value.code, out) == (2, "")
    assert err.startswith(f"error: {FOLDER / name}{SAID[name]}")
    assert err.count("\n") == 1
    assert ("SFT" in err) == (name in SFT)
    assert not storage.exists()


# Lines that hold something, though nothing that a pair could be made of.
LINES = [
    name for name, said in SAID.items() if name.endswith(".jsonl") and said.startswith((":1", ":2"))
]


@pytest.mark.parametrize("name", LINES)
def test_skipping_leaves_the_good_lines(name: str, tmp_path: Path) -> None:
    good = b'{"prompt": "Is it safe?", "chosen": "No.", "rejected": "Sure."}\n'
    path = tmp_path / name
    path.write_bytes(good + (FOLDER / name).read_bytes().rstrip(b"\n") + b"\n" + good)
    loaded = load_data([SourceSettings(path=str(path))], skip_bad_rows=True)
    assert {pair.prompt for pair in loaded.pairs} == {"Is it safe?"}
    assert len(loaded.pairs) >= 2
    assert loaded.skipped
    assert all(reason.startswith(f"{path}:") for reason in loaded.skipped)
