"""Every key of a sweep's YAML is documented once, with its default, in a README's table of keys.

A table of keys has the header `| key | default | meaning |`. A row documents one key by its full
name (`data.max_tokens`; `data.sources[].kind` for an item of a list). A row whose default is a
mapping documents every key of that mapping.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dpo_core.hyperparams import HYPERPARAM_NAMES
from sweeps.config.schema import SweepConfig
from tests.support.config_keys import fields_of, models_in
from tests.support.documents import code_spans, documents, prose, tables
from tests.support.repository import ROOT, name_of

HEADER = ["key", "default", "meaning"]
REQUIRED = "required"


@dataclass(frozen=True)
class Row:
    """A row of a table of keys."""

    key: str
    default: str
    document: str


FIELDS = dict(fields_of(SweepConfig))
LEAVES = {key for key, field in FIELDS.items() if not models_in(field.annotation)}
ROWS = [
    Row(row[0].strip("`"), row[1], name_of(path))
    for path in documents()
    for header, rows in tables(prose(path))
    if header == HEADER
    for row in rows
]


def leaves_of(row: Row) -> list[str]:
    """Return the keys that a row documents: its own, or those of the mapping it shows."""
    if row.key in LEAVES or row.key not in FIELDS:
        return [row.key]
    shown = shown_default(row)
    return [f"{row.key}.{name}" for name in shown] if isinstance(shown, dict) else []


def shown_default(row: Row) -> Any:
    """Return the default that a row shows in its first code span, read as YAML."""
    return yaml.safe_load(code_spans(row.default)[0])


def default_of(field: FieldInfo) -> Any:
    """Return a field's default as it would be written in YAML."""
    value = field.get_default(call_default_factory=True)
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def test_every_key_is_documented_once() -> None:
    counts = Counter(key for row in ROWS for key in leaves_of(row))
    assert {key: n for key, n in counts.items() if n > 1} == {}
    assert LEAVES - set(counts) == set()


def test_every_documented_key_exists() -> None:
    unknown = [row for row in ROWS if not set(leaves_of(row)) <= LEAVES or not leaves_of(row)]
    assert unknown == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_a_documented_default_is_the_schemas(row: Row) -> None:
    if row.key not in FIELDS:
        pytest.fail(f"{row.document}: {row.key} is no key")
    field = FIELDS[row.key]
    if field.default is PydanticUndefined and field.default_factory is None:
        assert row.default == REQUIRED
    elif code_spans(row.default):
        assert shown_default(row) == default_of(field)
    else:  # what is worked out from the rest of the config, or from the machine
        assert row.default != REQUIRED
        assert default_of(field) is None


def test_every_axis_is_documented_once() -> None:
    text = prose(ROOT / "search_spaces" / "README.md")
    [rows] = [rows for header, rows in tables(text) if header[0] == "axis"]
    assert Counter(row[0].strip("`") for row in rows) == Counter(HYPERPARAM_NAMES)
