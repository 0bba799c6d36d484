"""A strict YAML reader: one document, nothing repaired silently, every error one line.

`1e-5` is a number; `on`, `no`, dates and `010` stay text; only true and false are booleans.
Refused: duplicate keys, anchors and aliases, merge keys, tags, NaN and Infinity, keys that are
not text, and documents that are empty, several, too large or too deep.
"""

from __future__ import annotations

import math
import re
from typing import Any, Protocol

import yaml
from yaml.reader import ReaderError


class Mark(Protocol):
    """A position in a text; PyYAML has two unrelated classes of it."""

    line: int
    column: int


MAX_BYTES = 1_000_000
MAX_DEPTH = 50


class ConfigSyntaxError(ValueError):
    """A text that is not accepted as YAML. Reads `file:line:column: reason; way out`."""


def load_yaml(text: str, *, source: str) -> Any:
    """Return the value of the one YAML document in `text`; `source` names the file in errors.

    Raises:
        ConfigSyntaxError: `file:line:column: reason; way out`.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise ConfigSyntaxError(
            f"{source}:1:1: {size} bytes are more than the {MAX_BYTES} of a config; "
            "move data into files of its own"
        )
    try:
        return _load(text)
    except _Refused as error:
        raise ConfigSyntaxError(f"{source}:{_position(error.mark)}: {error}") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigSyntaxError(
            f"{source}:{_position(error.problem_mark)}: {_explained(error)}"
        ) from None
    except ReaderError as error:
        raise ConfigSyntaxError(
            f"{source}:{_position_of(text, error.position)}: character {chr(int(error.character))!r} "
            "is not allowed in YAML; delete it"
        ) from None


def dump_yaml(value: object) -> str:
    """Return a text that `load_yaml` and other YAML readers read back as `value`."""
    return yaml.dump(value, Dumper=_QuotingDumper, sort_keys=False, allow_unicode=True)


def _load(text: str) -> Any:
    loader = _StrictLoader(text)
    try:
        value = loader.get_single_data()
    except ValueError:  # PyYAML lets Python's chr() and int() complain.
        raise _Refused(
            loader.get_mark(), "an escape or version is out of range; write the character itself"
        ) from None
    finally:
        loader.dispose()
    if value is None:
        raise _Refused(None, "the document is empty; write at least one `key: value`")
    return value


class _Refused(Exception):
    """A construct that YAML allows and this loader does not, and where it stands."""

    def __init__(self, mark: Mark | None, message: str) -> None:
        super().__init__(message)
        self.mark = mark  # None is the start of the text.


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader with rules of its own for which plain scalars are not text."""

    # The pure Python loader: the C one cannot be asked about anchors and depth while it composes.
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012, as PyYAML declares it

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        _refuse_sharing(event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Refused(
                event.start_mark, f"nested deeper than {MAX_DEPTH} levels; flatten the config"
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        first_line: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            line = key_node.start_mark.line + 1
            if key in first_line:
                raise _Refused(
                    key_node.start_mark,
                    f"key {key!r} on line {line} was given on line {first_line[key]} already; "
                    "keep one of them",
                )
            first_line[key] = line
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise _Refused(node.start_mark, "a key must be text, not a list or mapping; name it")
        if node.value == "<<" and node.style is None:
            raise _Refused(node.start_mark, "merge key << is not allowed; write the keys out")
        key = self.construct_object(node, deep=True)
        if not isinstance(key, str):
            raise _Refused(
                node.start_mark, f'key {node.value} must be text; quote it: "{node.value}"'
            )
        return key


def _refuse_sharing(event: yaml.Event) -> None:
    """Refuse anchors and aliases, which expand ten lines to gigabytes, and tags, which run code."""
    anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
    if isinstance(event, yaml.AliasEvent):
        raise _Refused(event.start_mark, f"alias *{anchor} is not allowed; write the value out")
    if anchor is not None:
        raise _Refused(event.start_mark, f"anchor &{anchor} is not allowed; delete it")
    if tag is not None:
        raise _Refused(event.start_mark, f"tag {tag!r} is not allowed; delete it")


def _int(loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    try:
        return int(node.value)
    except ValueError:  # Python reads no more than some thousand digits.
        raise _Refused(
            node.start_mark, f"{len(node.value)} digits are too many for a number; quote the text"
        ) from None


def _float(loader: _StrictLoader, node: yaml.ScalarNode) -> float:
    value = float(node.value)
    if math.isfinite(value):
        return value
    raise _Refused(
        node.start_mark, f"{node.value[:20]} is too large for a number; write a smaller one"
    )


def _not_finite(loader: _StrictLoader, node: yaml.ScalarNode) -> float:
    raise _Refused(
        node.start_mark,
        f'{node.value} is not a finite number; write one, or quote the text: "{node.value}"',
    )


def _str(loader: _StrictLoader, node: yaml.ScalarNode) -> str:
    if re.search("[\ud800-\udfff]", node.value):
        raise _Refused(
            node.start_mark, "the text holds half a character (\\ud800 to \\udfff); write it whole"
        )
    return str(node.value)


_TAG = "tag:yaml.org,2002:"
_NUMBER_START = "-+.0123456789"

for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", _NUMBER_START),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", _NUMBER_START),
    ("not_finite", r"(?i:[-+]?\.?(nan|inf|infinity))", "-+.nNiI"),
):
    _StrictLoader.add_implicit_resolver(
        _TAG + _name, re.compile(f"(?:{_pattern})\\Z"), list(_first)
    )

_StrictLoader.add_constructor(_TAG + "int", _int)
_StrictLoader.add_constructor(_TAG + "float", _float)
_StrictLoader.add_constructor(_TAG + "not_finite", _not_finite)
_StrictLoader.add_constructor(_TAG + "str", _str)


class _QuotingDumper(yaml.SafeDumper):
    """A dumper that quotes each text that this loader or one of YAML 1.1 takes for something else."""

    yaml_implicit_resolvers = {  # noqa: RUF012, as PyYAML declares it
        first: _StrictLoader.yaml_implicit_resolvers.get(first, [])
        + yaml.SafeDumper.yaml_implicit_resolvers.get(first, [])
        for first in {
            *_StrictLoader.yaml_implicit_resolvers,
            *yaml.SafeDumper.yaml_implicit_resolvers,
        }
    }


# What PyYAML says, what it means, and what to do.
_EXPLANATIONS = (
    (r"'\\t'|tab", "a tab where only spaces may stand", "use spaces"),
    (
        "single document|document start",
        "a second document or a % line is not allowed",
        "keep one document, without a --- between",
    ),
    ("mapping values", 'a ":" that does not belong here', "indent it right, or quote the text"),
    ("block end", "this does not fit the lines above it", "check the indentation and the quotes"),
    (
        r"expected ',' or",
        "a bracket is not closed",
        "add a comma or the bracket, or quote a value with brackets",
    ),
    (r"could not find expected ':'", 'a key without its ":"', 'write "key: value"'),
    ("quoted scalar", "a quoted text goes wrong", "close or mend the quotes"),
    ("cannot start any token", "a text may not start with this character", "quote the text"),
)


def _explained(error: yaml.MarkedYAMLError) -> str:
    """Return `reason; way out`, on one line."""
    problem = " ".join(f"{error.context or ''} {error.problem or ''}".split())
    for pattern, reason, remedy in _EXPLANATIONS:
        if re.search(pattern, problem):
            return f"{reason}; {remedy}"
    return f"{problem}; check colons, quotes and the indentation"


def _position(mark: Mark | None) -> str:
    return "1:1" if mark is None else f"{mark.line + 1}:{mark.column + 1}"


def _position_of(text: str, position: int) -> str:
    before = text[:position]
    return f"{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}"
