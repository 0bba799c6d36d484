"""YAML as people mean it, and one readable line for everything else."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import load_preset
from sweeps.config.strict_yaml import MAX_BYTES, MAX_DEPTH, ConfigSyntaxError, load_yaml

calm = settings(deadline=None)  # shared machines pause


def load(text: str) -> Any:
    return load_yaml(text, source="sweep.yaml")


def complaint(text: str) -> str:
    with pytest.raises(ConfigSyntaxError) as caught:
        load(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("5e-7", 5e-7),
        (".5", 0.5),
        ("-.5e-3", -0.0005),
        ("5.", 5.0),
        ("1.0e-5", 1e-5),
        ("0", 0),
        ("-12", -12),
        ("+7", 7),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("Off", "Off"),
        ("yes", "yes"),
        ("no", "no"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01 10:00:00", "2024-01-01 10:00:00"),
        ("12:30:45", "12:30:45"),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1.5.2", "1.5.2"),
        ("e5", "e5"),
        ("'1e-5'", "1e-5"),
        ('"true"', "true"),
        ("'.nan'", ".nan"),
        ("infra", "infra"),
        ("=", "="),
    ],
)
def test_scalars(written: str, value: Any) -> None:
    loaded = load(f"a: {written}\n")["a"]
    assert loaded == value
    assert type(loaded) is type(value)


def test_a_config() -> None:
    text = "name: x  # why\nspace:\n  beta:\n    - {choice: [1, 2]}\nnote: |\n  two\n  lines\n"
    assert load(text) == {
        "name": "x",
        "space": {"beta": [{"choice": [1, 2]}]},
        "note": "two\nlines\n",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 1\nb: 2\na: 3\n",
            "3:1: key 'a' on line 3 was given on line 1 already; keep one of them",
        ),
        (
            "x:\n  - {a: 1, 'a': 2}\n",
            "2:12: key 'a' on line 2 was given on line 2 already; keep one of them",
        ),
        ("a: &x 1\nb: *x\n", "1:4: anchor &x is not allowed; delete it"),
        ("a: 1\nb: *x\n", "2:4: alias *x is not allowed; write the value out"),
        ("a:\n  <<: {b: 1}\n", "2:3: merge key << is not allowed; write the keys out"),
        ("a: !!str 1", "1:4: tag 'tag:yaml.org,2002:str' is not allowed; delete it"),
        ("a: !!python/name:os.system x", None),
        ("a: !env HOME", "1:4: tag '!env' is not allowed; delete it"),
        (
            "a: .nan",
            '1:4: .nan is not a finite number; write one, or quote the text: ".nan"',
        ),
        (
            "a: NaN",
            '1:4: NaN is not a finite number; write one, or quote the text: "NaN"',
        ),
        (
            "a: [-.inf]",
            '1:5: -.inf is not a finite number; write one, or quote the text: "-.inf"',
        ),
        (
            "a: Infinity",
            '1:4: Infinity is not a finite number; write one, or quote the text: "Infinity"',
        ),
        ("a: 1e999", "1:4: 1e999 is too large for a number; write a smaller one"),
        (
            "a: " + "9" * 5000,
            "1:4: 5000 digits are too many for a number; quote the text",
        ),
        ("1: a", '1:1: key 1 must be text; quote it: "1"'),
        ("true: a", '1:1: key true must be text; quote it: "true"'),
        ("null: a", '1:1: key null must be text; quote it: "null"'),
        ("? [a]\n: 1", "1:3: a key must be text, not a list or mapping; name it"),
        ("", "1:1: the document is empty; write at least one `key: value`"),
        ("# only a comment\n", "1:1: the document is empty; write at least one `key: value`"),
        ("---\n", "1:1: the document is empty; write at least one `key: value`"),
        (
            "a: 1\n---\nb: 2\n",
            "2:1: a second document or a % line is not allowed; "
            "keep one document, without a --- between",
        ),
        (
            "a: 1\n...\nb: 2\n",
            "3:1: a second document or a % line is not allowed; "
            "keep one document, without a --- between",
        ),
        ("a:\n\tb: 1\n", "2:1: a tab where only spaces may stand; use spaces"),
        (
            "a: b: c\n",
            '1:5: a ":" that does not belong here; indent it right, or quote the text',
        ),
        (
            "a: [1, 2\n",
            "2:1: a bracket is not closed; add a comma or the bracket, or quote a value with brackets",
        ),
        ("a: 'x\n", "2:1: a quoted text goes wrong; close or mend the quotes"),
        (
            "a:\n  - 1\n b: 2\n",
            "3:2: this does not fit the lines above it; check the indentation and the quotes",
        ),
        ("a: @x\n", "1:4: a text may not start with this character; quote the text"),
        ("a: 1\nfoo\nb: 2\n", '3:1: a key without its ":"; write "key: value"'),
        (
            "a: - b\n",
            "1:4: sequence entries are not allowed here; check colons, quotes and the indentation",
        ),
        (
            "a: 1\nb: \x07\n",
            "2:4: character '\\x07' is not allowed in YAML; delete it",
        ),
        (
            'a: "\\U00110000"',
            "1:7: an escape or version is out of range; write the character itself",
        ),
        (
            'a: "\\ud800"',
            "1:4: the text holds half a character (\\ud800 to \\udfff); write it whole",
        ),
    ],
)
def test_refused_with_place_reason_and_way_out(text: str, message: str | None) -> None:
    complaint_text = complaint(text)
    assert message is None or complaint_text == f"sweep.yaml:{message}"
    assert "\n" not in complaint_text
    assert "; " in complaint_text


def test_a_bomb_is_refused_at_its_first_anchor() -> None:
    levels = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    assert complaint("\n".join(levels)).startswith("sweep.yaml:1:5: anchor &a0 is not allowed")


def test_size_cap_is_in_bytes() -> None:
    assert load("a: " + "x" * (MAX_BYTES - 3))["a"].endswith("x")
    over = f"sweep.yaml:1:1: {MAX_BYTES + 1} bytes are more than the {MAX_BYTES} of a config"
    assert complaint("a: " + "x" * (MAX_BYTES - 2)).startswith(over)
    assert complaint("a: é" + "x" * (MAX_BYTES - 4)).startswith(over)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_nesting_cap(opening: str, closing: str) -> None:
    deepest = opening * (MAX_DEPTH - 1) + "1" + closing * (MAX_DEPTH - 1)
    assert load(deepest)
    assert "nested deeper than 50 levels; flatten" in complaint(opening + deepest + closing)


def test_siblings_do_not_count_as_depth() -> None:
    assert len(load("a:\n" + "- [1]\n" * 200)["a"]) == 200


def test_it_leaves_yaml_itself_alone() -> None:
    assert yaml.safe_load("a: on\nb: 2024-01-01")["a"] is True


@calm
@given(
    st.text(alphabet=st.sampled_from("ab1: -[]{}#&*!|>'\"%@`,?\n\t\\U~.<=e0x\x00é"), max_size=40)
)
def test_any_text_is_read_or_explained_in_one_line(text: str) -> None:
    try:
        assert load(text) is not None
    except ConfigSyntaxError as error:
        assert str(error).startswith("sweep.yaml:")  # noqa: PT017, as most texts do not raise
        assert "\n" not in str(error)  # noqa: PT017


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=8,
)


@calm
@given(st.dictionaries(st.text("abc", min_size=1), json_values))
def test_reads_what_pyyaml_writes(value: dict[str, Any]) -> None:
    class NoAliases(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    assert load(yaml.dump(value, Dumper=NoAliases)) == value


def test_reads_the_presets() -> None:
    lora = load_preset("lora")
    assert load(yaml.safe_dump(lora.to_yaml())) == lora.to_yaml()
