"""Every published layout is recognized by its example, and gives the canonical pair."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from dpo_core.columns.mapping import in_yaml
from dpo_core.columns.published import LAYOUTS, PUBLISHED
from dpo_core.errors import DataError
from dpo_core.preferences import LoadedData, as_chat, load_data
from dpo_core.settings import SourceSettings
from tests.support.documents import prose, tables
from tests.support.outside_inputs import outside_input
from tests.support.repository import ROOT

FOLDER = ROOT / "tests" / "data" / "layouts"
CANONICAL = json.loads((FOLDER / "canonical.json").read_text("utf-8"))
NAMES = [layout.name for layout in PUBLISHED]


def load(path: Path, **settings: Any) -> LoadedData:
    return load_data([SourceSettings(path=str(path), name="source", **settings)])


def first_pair(loaded: LoadedData) -> dict[str, Any]:
    pair = as_chat(loaded.pairs[0])
    content: dict[str, Any] = {
        name: list(getattr(pair, name)) for name in ("prompt", "chosen", "rejected", "tools")
    }
    kwargs = {"chat_template_kwargs": pair.template_kwargs} if pair.template_kwargs else {}
    return {name: value for name, value in content.items() if value} | kwargs


def test_each_layout_has_an_example_of_ten_rows() -> None:
    assert (
        sorted(CANONICAL) == sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("*.jsonl"))
    )
    assert len(LAYOUTS) == len(PUBLISHED)
    for name in NAMES:
        assert len((FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()) == 10, name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("setting", ["auto", "layout", "columns"])
def test_an_example_gives_the_canonical_pair(name: str, setting: str) -> None:
    settings = {
        "auto": {},
        "layout": {"layout": name},
        "columns": {"columns": LAYOUTS[name].written},
    }[setting]
    loaded = load(FOLDER / f"{name}.jsonl", **settings)
    assert loaded.columns["source"].layout == ("columns" if setting == "columns" else name)
    assert len(loaded.pairs) == CANONICAL[name]["pairs"]
    assert first_pair(loaded) == CANONICAL[name]["first"]


@pytest.mark.parametrize("position", range(24))
def test_layouts_of_outside_inputs_are_read_or_refused(position: int) -> None:
    folder = outside_input("cases/layouts")
    name, expected = list(json.loads((folder / "expected.json").read_text("utf-8")).items())[
        position
    ]
    if expected["first"] is None:
        with pytest.raises(DataError, match=r"`images` holds .* and only text can be trained on"):
            load(folder / f"{name}.jsonl")
        return
    loaded = load(folder / f"{name}.jsonl")
    assert len(loaded.pairs) == expected["pairs"]
    assert first_pair(loaded) == expected["first"]
    layout = loaded.columns["source"].layout
    if layout in LAYOUTS:  # the same rows by the columns that this layout stands for
        columns = dict(LAYOUTS[layout].written)
        if "history" not in json.loads((folder / f"{name}.jsonl").open().readline()):
            columns.pop("history", None)  # a column that no row has is a mistake
        mapped = load(folder / f"{name}.jsonl", columns=columns)
        assert mapped.columns["source"].layout == "columns"
        assert list(mapped.pairs) == list(loaded.pairs)


@pytest.mark.parametrize("name", NAMES)
def test_every_pair_prefers_the_careful_answer(name: str) -> None:
    for pair in load(FOLDER / f"{name}.jsonl").pairs:
        chat = as_chat(pair)
        assert chat.chosen[-1]["content"].startswith("Clean ")
        assert chat.rejected[-1]["content"].endswith(" needs no care at all.")


@pytest.mark.parametrize("name", NAMES)
def test_an_arrow_table_reads_the_same(name: str, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    loaded = load(tmp_path / "rows.parquet")
    assert loaded.columns["source"].layout == name
    assert len(loaded.pairs) == CANONICAL[name]["pairs"]
    assert first_pair(loaded) == CANONICAL[name]["first"]


@pytest.mark.parametrize("name", NAMES)
def test_a_csv_file_reads_the_same(name: str, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    column: json.dumps(value) if isinstance(value, list | dict) else value
                    for column, value in row.items()
                }
            )
    loaded = load(tmp_path / "rows.csv")
    assert loaded.columns["source"].layout == name
    assert len(loaded.pairs) == CANONICAL[name]["pairs"]
    assert first_pair(loaded) == CANONICAL[name]["first"]


def test_the_readme_has_the_table() -> None:
    path = ROOT / "dpo_core" / "README.md"
    [rows] = [rows for header, rows in tables(prose(path)) if header[0] == "`data.layout`"]
    assert rows == [
        [f"`{layout.name}`", layout.publisher, f"`{in_yaml(layout.written)}`"]
        for layout in PUBLISHED
    ]
