"""A field without a value is an error that says what to correct: the row, or the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences import load_data
from dpo_core.preferences.sources import first_rows
from dpo_core.settings import SourceSettings
from tests.support.preference_rows import write_jsonl

ROW = {"question": "Why?", "chosen": "Because.", "rejected": "No."}
COLUMNS = {"prompt": "question", "chosen": "chosen", "rejected": "rejected"}


def source_of(folder: Path, rows: list[Any], **settings: Any) -> SourceSettings:
    return SourceSettings(path=str(write_jsonl(folder / "rows.jsonl", rows)), **settings)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"columns": COLUMNS | {"prompt": "qestion"}}, "data.columns"),
        ({"columns": COLUMNS | {"prompt": "meta.question"}}, "data.columns"),
        ({"layout": "orca_kto"}, "data.layout"),
    ],
)
def test_a_column_that_no_row_has_is_a_mistake_of_the_settings(
    settings: dict[str, Any], key: str, tmp_path: Path
) -> None:
    source = source_of(tmp_path, [ROW, ROW | {"question": "How?"}], **settings)
    [error, _] = first_rows(source, 2)
    assert f"; correct {key}, because none of the first rows has that column" in str(error)
    with pytest.raises(DataError, match=f"; correct {key}, because"):
        load_data([source])


def test_a_column_that_other_rows_have_is_a_mistake_of_the_row(tmp_path: Path) -> None:
    rows = [ROW, {"q": "Why?"} | {name: ROW[name] for name in ("chosen", "rejected")}]
    [_, error] = first_rows(source_of(tmp_path, rows, columns=COLUMNS), 2)
    assert str(error).endswith("columns of this row: q, chosen, rejected); correct the row")


def test_a_third_answer_of_a_published_layout_is_not_lost_unsaid(tmp_path: Path) -> None:
    row = {"instruction": "Why?", "output": ["Because.", "No."]}
    rows = [row, row | {"output": ["Because.", "No.", "So."]}]
    [_, error] = first_rows(source_of(tmp_path, rows), 2)
    assert "rows.jsonl:2: `output` has 3 answers, and a row of this layout has two (read as" in str(
        error
    )
    columns = {"prompt": "instruction", "chosen": "output[0]", "rejected": "output[1]"}
    assert len(load_data([source_of(tmp_path, rows, columns=columns)]).pairs) == 2
