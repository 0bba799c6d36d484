"""Every value that the schema refuses is one line in our words: key, value, rule, way out."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from dpo_core.errors import SettingsError
from sweeps.config.keys import settings_in
from sweeps.config.load import Tree, config_of
from sweeps.config.schema import SweepConfig

SWEEP: Tree = {
    "name": "hh",
    "model": {"path": "m"},
    "data": {"sources": [{"path": "d.jsonl"}]},
    "space": {"learning_rate": 1e-5, "beta": 0.1},
    "training": {"max_steps": 4},
}
# Each of these is wrong for most keys.
VALUES: list[object] = [
    *(None, True, 3, 2.5, -1, 10**9, 10**400, "", "x", "3", "true"),
    *([], [3], ["x"], {}, {"foo": 1}, {"limit": "x"}, [{"foo": 1}]),
]
PYDANTICS_WORDS = re.compile(
    r"pydantic|Input|should (be|have|match)|valid (dict|str|int|num|bool|list)|instance of"
)


def keys(
    model: type[BaseModel], prefix: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    for name, field in model.model_fields.items():
        yield (*prefix, name)
        inner = settings_in(field.annotation)
        if inner:
            item: tuple[int, ...] = (0,) if name == "sources" else ()
            yield from keys(inner, (*prefix, name, *item))


def lines(value: object, *path: str | int) -> list[str]:
    """Return what is said about the sweep with another value under one key."""
    tree: Tree = copy.deepcopy(SWEEP)
    part: object = tree
    for key in path[:-1]:
        part = part.setdefault(key, {}) if isinstance(part, dict) else part[key]  # type: ignore[index]
    part[path[-1]] = value  # type: ignore[index]
    try:
        config_of(tree, source="sweep.yaml")
    except SettingsError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("section", list(SweepConfig.model_fields))
def test_no_value_of_any_key_is_answered_in_pydantics_words(section: str) -> None:
    refused = 0
    for path in (path for path in keys(SweepConfig) if path[0] == section):
        for value in VALUES:
            said = lines(value, *path)
            refused += bool(said)
            for line in said:
                assert line.startswith("sweep.yaml: "), line
                assert not PYDANTICS_WORDS.search(line), line
                assert len(line) < 1500, line
            subjects = [line.split(": ")[1] for line in said]
            assert len(subjects) == len(set(subjects)), said  # an alternative is no second mistake
    assert refused > 5


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("search.trials", "20", "'20' is text; write the number without quotes"),
        ("search.trials", "many", "'many' is text; write a whole number"),
        ("search.trials", 2.5, "2.5 is a number with a fraction; write a whole number"),
        ("search.trials", True, "true is a boolean; write a whole number"),
        (
            "search.trials",
            None,
            "null is no value here; write a whole number, or leave the key out",
        ),
        ("search.trials", 0, "0 is too small; give at least 1"),
        ("resources.cpus_per_worker", 0, "0 is too small; give more than 0"),
        ("data.select_fraction", 1, "1 is too large; give less than 1"),
        ("data.min_similarity", 2, "2 is too large; give at most 1"),
        ("training.epochs", 10**400, "the number has 401 digits; write a smaller one"),
        ("selection.min_margin", float("inf"), "inf is not finite; write a finite number"),
        ("resources.lanes", "yes", "'yes' is text; write true or false, without quotes"),
        ("search.objectives", "drift", "'drift' is text; write a list: [drift]"),
        ("search.sampler", "cma", "'cma' is unknown; use one of tpe, gp, nsga2, random"),
        (
            "search.sampler",
            "rando",
            "'rando' is unknown; did you mean random? (tpe, gp, nsga2, random)",
        ),
        ("export.dtype", 3, "3 is unknown; use one of auto, float32, bfloat16, float16, or null"),
        (
            "search",
            "tpe",
            "'tpe' is text; write a mapping with any of the keys sampler, objectives",
        ),
        ("selection.confirm", 3, "3 is a number; write a mapping with any of the keys top, seeds"),
        ("model", None, "null is no value here; write a mapping with any of the keys path, dtype"),
        ("space", 3, '3 is a number; write text in quotes, such as "lora", or a mapping'),
        ("data.quiet_findings", [3], '3 is a number; write text in quotes: "3"'),
        ("data.chat_template_kwargs", 3, "3 is a number; write a mapping"),
        ("model.path", "", "the text is empty; write one"),
        ("selection.incumbent", "", "the text is empty; write one, or leave the key out"),
        ("nightly.turns_at", 12, '12 is a number; write text in quotes, such as "12:00"'),
        (
            "nightly.turns_at",
            "25:00",
            "'25:00' is no time of day from 00:00 to 23:59; write one such as \"12:00\"",
        ),
        ("name", "Has Spaces", "'Has Spaces' is no name of at most 41 characters (a-z, 0-9, -; "),
        (
            "resources.driver_resource",
            "9 x",
            "'9 x' is no name of letters, digits, - and _, which ",
        ),
        (
            "selection.guardrails.drift_chosen",
            0.3,
            "0.3 is a number; write a mapping with any of the ",
        ),
        ("selection.guardrails.drift_chosen", {"limit": -1}, "-1 is too small; give at least 0"),
    ],
)
def test_value_rule_and_way_out(path: str, value: object, said: str) -> None:
    [line] = lines(value, *path.split("."))
    assert line.startswith(f"sweep.yaml: {path}"), line
    assert f": {said}" in line


def test_a_long_value_is_shortened() -> None:
    [line] = lines("x" * 10_000, "search", "trials")
    assert len(line) < 200
    assert line.endswith("…' is text; write a whole number")


def test_a_source_is_named_by_its_number() -> None:
    assert lines([{"path": 3}], "data", "sources") == [
        'sweep.yaml: data.sources[0].path: 3 is a number; write text in quotes: "3"'
    ]


def test_a_missing_key_of_a_section() -> None:
    assert lines([{}], "data", "sources") == [
        "sweep.yaml: data.sources[0].path: is missing and has no default; add it"
    ]


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ({"beta": "0.1"}, "space.beta: '0.1' is text; write the number without quotes"),
        ({"beta": "high"}, "space.beta: 'high' is text; write a number"),
        ({"beta": True}, "space.beta: true is a boolean; write a number"),
        ({"beta": 0}, "space.beta: 0 must be a finite number above 0"),
        ({"lora_rank": "8"}, "space.lora_rank: '8' is text; write the number without quotes"),
        ({"ld_alpha": "x"}, "space.ld_alpha: 'x' is text; write a number"),
        ({"rdpo_alpha": None}, "space.rdpo_alpha: null is no value here; write a number"),
        ({"learning_rate": {"choice": [1e-5, "2e-5"]}}, "space.learning_rate: '2e-5' is text; wri"),
        (
            {"learning_rat": 0.1},
            'space.learning_rat: is no DPO hyperparameter; did you mean "learning_',
        ),
    ],
)
def test_an_axis_is_named_by_its_key(axis: Tree, said: str) -> None:
    [line] = lines({"learning_rate": 1e-5, "beta": 0.1, **axis}, "space")
    assert line.startswith(f"sweep.yaml: {said}")
