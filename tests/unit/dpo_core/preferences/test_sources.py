"""Each kind of source, written here and read back; and every way in which a file can be wrong."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences import PreferencePair, data_fingerprint, load_pairs, split_pairs
from tests.support.outside_inputs import outside_input

ROWS = [
    {
        "prompt": [{"role": "user", "content": f"Question {n}, “so”?"}],
        "chosen": [{"role": "assistant", "content": f'Yes, "{n}".\nSee\u2028line {n}.'}],
        "rejected": [{"role": "assistant", "content": "No."}],
        "category": "even" if n % 2 == 0 else None,
    }
    for n in range(5)
]


def content(pairs: list[PreferencePair]) -> list[tuple[Any, ...]]:
    return [(pair.id, pair.prompt, pair.chosen, pair.rejected, pair.category) for pair in pairs]


def jsonl(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def expected(tmp_path: Path) -> list[tuple[Any, ...]]:
    return content(load_pairs(str(jsonl(tmp_path / "expected" / "pairs.jsonl"))))


def error_of(path: Path | str, split: str = "train") -> str:
    """The message, without the path it must begin with."""
    with pytest.raises(DataError) as caught:
        load_pairs(str(path), split=split)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


# Files


def test_jsonl(expected: list[tuple[Any, ...]]) -> None:
    assert [item[1][0]["content"] for item in expected] == [
        row["prompt"][0]["content"] for row in ROWS
    ]
    assert len({item[0] for item in expected}) == len(ROWS)


def test_lines_are_counted_from_one(tmp_path: Path) -> None:
    assert [pair.line for pair in load_pairs(str(jsonl(tmp_path / "a.jsonl")))] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("wrap", [list, lambda rows: {"version": 1, "data": rows}])
def test_json(tmp_path: Path, expected: list[tuple[Any, ...]], wrap: Any) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(wrap(ROWS), indent=2), "utf-8")
    assert content(load_pairs(str(path))) == expected


def test_parquet(tmp_path: Path, expected: list[tuple[Any, ...]]) -> None:
    from pyarrow import Table, parquet

    path = tmp_path / "pairs.PARQUET"
    parquet.write_table(Table.from_pylist(ROWS), path, row_group_size=2)
    pairs = load_pairs(str(path))
    assert content(pairs) == expected
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
    assert content(load_pairs(str(write_csv(tmp_path / "pairs.csv", rows)))) == expected


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
    path = jsonl(tmp_path / "a.jsonl")
    path.write_text(path.read_text("utf-8").replace("\n", "\r\n") + "\n  \n", "utf-8")
    assert len(load_pairs(str(path))) == len(ROWS)


def test_repeated_rows_have_their_own_ids(tmp_path: Path) -> None:
    ids = [pair.id for pair in load_pairs(str(jsonl(tmp_path / "a.jsonl", ROWS[:1] * 3)))]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3"]


# Folders


def test_saved_dataset(tmp_path: Path, expected: list[tuple[Any, ...]]) -> None:
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    assert content(load_pairs(str(tmp_path / "saved"))) == expected
    assert error_of(tmp_path / "saved", "test") == ": no split 'test' (found: train); set `split`"


def test_saved_dataset_dict(tmp_path: Path, expected: list[tuple[Any, ...]]) -> None:
    from datasets import Dataset, DatasetDict

    saved = DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:2]))
    saved.save_to_disk(tmp_path / "saved")
    assert content(load_pairs(str(tmp_path / "saved"))) == expected
    assert content(load_pairs(str(tmp_path / "saved"), split="test")) == expected[:2]
    assert error_of(tmp_path / "saved", "dev") == (
        ": no split 'dev' (found: train, test); set `split`"
    )


def test_damaged_saved_dataset(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text("{}")
    message = error_of(tmp_path / "saved")
    assert message.startswith(": cannot be read as a saved data set (")
    assert message.endswith("; save it again")


def test_folder_of_files_in_the_order_of_their_names(
    tmp_path: Path, expected: list[tuple[Any, ...]]
) -> None:
    jsonl(tmp_path / "d" / "part-1.jsonl", ROWS[2:])
    (tmp_path / "d" / "part-0.json").write_text(json.dumps(ROWS[:2]))
    (tmp_path / "d" / "README.md").write_text("Hello")
    (tmp_path / "d" / "dataset_infos.json").write_text("{}")
    assert content(load_pairs(str(tmp_path / "d"))) == expected


def test_a_folder_of_named_splits_is_not_poured_together(
    tmp_path: Path, expected: list[tuple[Any, ...]]
) -> None:
    jsonl(tmp_path / "d" / "train-00000-of-00002.jsonl", ROWS[:2])
    jsonl(tmp_path / "d" / "train-00001-of-00002.jsonl", ROWS[2:4])
    jsonl(tmp_path / "d" / "test.jsonl", ROWS[4:])
    assert content(load_pairs(str(tmp_path / "d"))) == expected[:4]
    assert content(load_pairs(str(tmp_path / "d"), split="test")) == expected[4:]


def test_a_folder_without_the_split(tmp_path: Path) -> None:
    jsonl(tmp_path / "d" / "train_prefs.jsonl")
    jsonl(tmp_path / "d" / "test_prefs.jsonl")
    assert error_of(tmp_path / "d") == (
        ": no file is named for split 'train' (found: test_prefs.jsonl, train_prefs.jsonl); "
        "set `split`, or name one file"
    )
    assert len(load_pairs(str(tmp_path / "d"), split="train_prefs")) == len(ROWS)


def test_load_dataset_reads_the_layout_of_a_hub_data_set(
    tmp_path: Path, expected: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    jsonl(tmp_path / "d" / "data" / "train.jsonl")
    jsonl(tmp_path / "d" / "data" / "test.jsonl", ROWS[:2])
    assert content(load_pairs(str(tmp_path / "d"))) == expected
    assert content(load_pairs(str(tmp_path / "d"), split="test")) == expected[:2]
    message = error_of(tmp_path / "d", "dev")
    assert 'Unknown split "dev"' in message
    assert message.endswith("; give the data file itself")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    message = error_of(tmp_path / "d")
    assert message.startswith(": neither a folder of .jsonl, .json, .parquet, .csv files nor a")


def test_a_hub_id_that_cannot_be_reached_is_one_line() -> None:
    # A process of its own: `datasets` reads the switch when it is imported.
    code = (
        "from dpo_core.errors import DataError\n"
        "from dpo_core.preferences import load_pairs\n"
        "try: load_pairs('no-such-owner/no-such-set')\n"
        "except DataError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    [message] = done.stdout.splitlines()
    assert message.startswith(
        "no-such-owner/no-such-set: no such file or folder, and the Hugging Face hub did not give it ("
    )
    assert message.endswith("; check the spelling, sign in or go online, or give a local file")


# Errors


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a" 1}', ":2: invalid JSON at column 6 (Expecting ':' delimiter); correct the line"),
        ('{"a": NaN}', ":2: NaN is not JSON; write a number, a string or null"),
        ('{"a": -Infinity}', ":2: -Infinity is not JSON; write a number, a string or null"),
        ('{"a": 1, "a": 2}', ":2: key 'a' occurs twice in one object; keep one of them"),
        ("[1]", ":2: [1] must be a JSON object with the keys prompt, chosen and rejected"),
        ("", ":2: blank line between rows; remove it"),
        ("[" * 100_000, ":2: JSON is nested too deeply; a row has strings or lists of messages"),
        ('{"prompt": "a", "chosen": "b"}', ":2: missing column `rejected` (found: prompt, chosen)"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    good = json.dumps(ROWS[0])
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{good}\n{line}\n{good}\n")
    assert error_of(path).startswith(message)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", ": the file is empty; it must hold at least one preference pair"),
        (b"\n \n", ": the file is empty; it must hold at least one preference pair"),
        (
            b"\xef\xbb\xbf{}",
            ":1: begins with a byte order mark; save it as UTF-8 without BOM",
        ),
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
    assert error_of(path) == message


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
    assert error_of(path) == message


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
    assert error_of(path) == message


def test_wrong_parquet(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    message = error_of(path)
    assert message.startswith(": cannot be read as Parquet (")
    assert message.endswith("); write it again")


def test_a_wrong_parquet_row_is_named(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    path = tmp_path / "pairs.parquet"
    parquet.write_table(Table.from_pylist([*ROWS, ROWS[0] | {"rejected": None}]), path)
    assert error_of(path).startswith(", row 6: rejected: None is null")


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    jsonl(tmp_path / "pairs.jsonl")
    assert error_of(tmp_path / "pair.jsonl") == (
        f": no such file or folder (nearest in {tmp_path}: pairs.jsonl); check the spelling"
    )


def test_a_missing_folder_names_its_neighbours(tmp_path: Path) -> None:
    jsonl(tmp_path / "sets" / "pairs.jsonl")
    assert error_of(tmp_path / "set" / "pairs.jsonl") == (
        f": no such file or folder (nearest in {tmp_path}: sets); check the spelling"
    )


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "pairs.jsonl")
    assert error_of(path / "train.jsonl") == (
        f": no such file or folder ({path} is a file); check the spelling"
    )


def test_an_unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl.gz").write_bytes(b"x")
    assert error_of(tmp_path / "pairs.jsonl.gz") == (
        ": ending '.gz' is not one of .jsonl, .json, .parquet, .csv; "
        "convert the file (or unpack it) first"
    )


def test_a_file_has_no_splits(tmp_path: Path) -> None:
    assert error_of(jsonl(tmp_path / "a.jsonl"), "test") == (
        ": a file has no split 'test'; leave `split` out"
    )


# The whole


def test_the_fingerprint_is_of_the_pairs_and_not_of_their_order(tmp_path: Path) -> None:
    pairs = load_pairs(str(jsonl(tmp_path / "a.jsonl")))
    shuffled = random.Random(0).sample(pairs, len(pairs))
    ids = [pair.id for pair in pairs]
    assert data_fingerprint(pair.id for pair in shuffled) == data_fingerprint(ids)
    assert data_fingerprint(ids[:-1]) != data_fingerprint(ids)
    assert data_fingerprint([]) == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_importing_loads_neither_datasets_nor_torch() -> None:
    code = (
        "import sys, dpo_core.preferences\n"
        "print([m for m in ('datasets', 'torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def real_data() -> Path:
    """Anthropic's harmless-base pairs: real, upsetting, and so not part of this repository."""
    return outside_input("data/hh_harmless.jsonl")


def test_real_pairs() -> None:
    pairs = load_pairs(str(real_data()))
    assert len(pairs) == len({pair.id for pair in pairs}) == 1603
    assert len({pair.group for pair in pairs}) == 1504
    splits = split_pairs(pairs, seed=7, select_fraction=0.2, final_fraction=0.2)
    groups = [{p.group for p in part} for part in (splits.train, splits.select, splits.final)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 1504
    for part, share in zip(groups, (0.6, 0.2, 0.2), strict=True):
        assert len(part) / 1504 == pytest.approx(share, abs=0.05)
