"""A space: its rules, its points, and the keys under which a sampler knows its axes."""

from __future__ import annotations

import json
import math
import pickle
import random
from itertools import product
from typing import Annotated, Any

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator

import search_spaces
from search_spaces import Axis, Choice, LogUniform, Space, SpaceError, Uniform, load_space
from search_spaces.reachability import MAX_CASES

BRANCHED: dict[str, Any] = {
    "beta": [
        {"log_uniform": [0.01, 0.5], "when": {"length_norm": ["rdpo", "none"]}},
        {"log_uniform": [1.0, 20.0], "when": {"length_norm": "mean"}},
    ],
    "learning_rate": {"log_uniform": [1e-7, 3e-6]},
    "length_norm": {"choice": ["none", "mean", "rdpo", "simpo"]},
    "gamma_ratio": {"uniform": [0.1, 0.8], "when": {"length_norm": "simpo"}},
}
NORM = {"choice": ["none", "mean"]}
ABSENT = object()

calm = settings(deadline=None)  # shared machines pause


def value_of(key: str, axis: Axis) -> Any:
    return axis.values[0] if isinstance(axis, Choice) else axis.low


def seeded(seed: int) -> Any:
    """A sampler of its own: any value inside the axis."""
    rng = random.Random(seed)
    return lambda key, axis: (
        rng.choice(axis.values) if isinstance(axis, Choice) else rng.uniform(axis.low, axis.high)
    )


def few(each: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(each, min_size=1, max_size=most, unique=True)


@st.composite
def forms(draw: st.DrawFn, only_choices: bool = False) -> dict[str, Any]:
    """Spaces of up to six axes, some with conditions on earlier ones, in any order."""
    form: dict[str, Any] = {}
    values: dict[str, list[Any]] = {}
    for name in "abcdef"[: draw(st.integers(1, 6))]:
        own = draw(
            st.lists(
                st.integers(0, 9) | st.sampled_from("xyz"), min_size=1, max_size=3, unique=True
            )
        )
        kinds: list[dict[str, Any]] = [
            {"choice": own},
            {"uniform": [0, 1]},
            {"log_uniform": [0.1, 1]},
        ]
        axis = kinds[0] if only_choices else draw(st.sampled_from(kinds))
        shape = draw(st.sampled_from(["plain", "when", "branches"])) if values else "plain"
        form[name] = draw(_shaped(shape, axis, values))
        if axis is kinds[0]:
            values[name] = own
    names = draw(st.permutations(list(form)))
    return {name: form[name] for name in names}


@st.composite
def _shaped(draw: st.DrawFn, shape: str, axis: dict[str, Any], values: dict[str, list[Any]]) -> Any:
    if shape == "plain":
        return axis
    if shape == "when":
        others = draw(
            st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=2, unique=True)
        )
        when = {
            o: draw(st.lists(st.sampled_from(values[o]), min_size=1, unique=True)) for o in others
        }
        return axis | {"when": when}
    other = draw(st.sampled_from(sorted(values)))
    return [axis | {"when": {other: value}} for value in values[other]]


def parsed(form: dict[str, Any]) -> Space:
    try:
        return Space.parse(form)
    except SpaceError as error:
        assert "can never be active" in str(error)  # noqa: PT017, the only rule at risk
        reject()


spaces = forms().map(parsed)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({}, "space: {} has no axis; give at least one, such as learning_rate"),
        (["beta"], "space: ['beta'] must map axis names to axes; write name: axis"),
        (
            {"beta": {"log_uniform": [-1.0, 1]}},
            'beta: low=-1.0 must be > 0 on a log axis; raise it or use "uniform"',
        ),
        (
            {"beta": {"loguniform": [0.1, 1]}},
            "beta: 'loguniform' is no kind of axis; did you mean \"log_uniform\"?",
        ),
        (
            {"beta": {"when": {"x": 1}}, "x": 1},
            "beta: no kind given, but an axis has exactly one kind; "
            "use one of log_uniform, uniform, choice",
        ),
        (
            {"2b": 1},
            "2b: '2b' must be a name of letters, digits and _, not starting with a digit; "
            "rename the axis",
        ),
        (
            {"a\nb": 1},
            "'a\\nb': 'a\\nb' must be a name of letters, digits and _, not starting with a digit; "
            "rename the axis",
        ),
        (
            {3: 1},
            "3: 3 must be a name of letters, digits and _, not starting with a digit; "
            "rename the axis",
        ),
        (
            {"norm": ["none", "mean"]},
            "norm: ['none', 'mean'] must be a list of branches, each a mapping; "
            "to choose among values, write choice: ['none', 'mean']",
        ),
        ({"norm": []}, "norm: [] has no branch; write one, or drop the axis"),
        (
            {"beta": {"uniform": [0, 1], "when": {}}},
            "beta: when={} must name other axes; write when: {axis: value}",
        ),
        (
            {"beta": {"uniform": [0, 1], "when": "norm"}},
            "beta: when='norm' must name other axes; write when: {axis: value}",
        ),
        (
            {"beta": {"uniform": [0, 1], "when": {"norm": []}}, "norm": NORM},
            "beta: when norm: choice=[] must hold at least one value; add one, or drop it",
        ),
        (
            {"beta": {"uniform": [0, 1], "when": {"lenght_norm": "mean"}}, "length_norm": NORM},
            "beta: when lenght_norm: there is no axis 'lenght_norm'; did you mean \"length_norm\"?",
        ),
        (
            {"beta": {"uniform": [0, 1], "when": {"zzz": 1}}, "norm": NORM},
            "beta: when zzz: there is no axis 'zzz'; use one of norm",
        ),
        (
            {"beta": {"uniform": [0, 1], "when": {"zzz": 1}}},
            "beta: when zzz: there is no axis 'zzz'; add it, or drop the condition",
        ),
        (
            {"beta": {"uniform": [0, 1], "when": {"rate": 1}}, "rate": {"uniform": [0, 1]}},
            "beta: when rate: rate is uniform [0.0, 1.0], and a condition must be on a "
            '"choice" axis; make rate a choice, or drop the condition',
        ),
        (
            {"beta": {"uniform": [0, 1], "when": {"norm": ["mean", "simpo"]}}, "norm": NORM},
            "beta: when norm: 'simpo' is not among the choices of norm; "
            "use one of ['none', 'mean'], or add it to norm",
        ),
        (
            {
                "beta": [
                    {"uniform": [0, 1], "when": {"norm": ["none", "mean"]}},
                    {"uniform": [1, 2], "when": {"norm": "mean"}},
                ],
                "norm": NORM,
            },
            "beta: branches 1 and 2 overlap at norm='mean'; let each value belong to one branch",
        ),
        (
            {
                "beta": [
                    {"uniform": [0, 1], "when": {"norm": "mean"}},
                    {"uniform": [1, 2], "when": {"flag": True}},
                ],
                "norm": NORM,
                "flag": {"choice": [True, False]},
            },
            "beta: branches have conditions on different axes, norm and flag; "
            "use the same axis in each",
        ),
        (
            {
                "beta": [{"uniform": [0, 1], "when": {"norm": "mean"}}, {"choice": [1]}],
                "norm": NORM,
            },
            "beta: branch 2 has conditions on no axis, and each of several branches needs "
            "exactly one; write when: {axis: value}",
        ),
        (
            {
                "beta": [
                    {"uniform": [0, 1], "when": {"norm": "mean", "flag": True}},
                    {"uniform": [1, 2], "when": {"norm": "none"}},
                ],
                "norm": NORM,
                "flag": {"choice": [True, False]},
            },
            "beta: branch 1 has conditions on ['norm', 'flag'], and each of several branches "
            "needs exactly one; write when: {axis: value}",
        ),
        (
            {"a": {"choice": [1], "when": {"a": 1}}},
            "a: conditions form a cycle, a -> a; drop one of the conditions",
        ),
        (
            {
                "a": {"choice": [1], "when": {"b": 1}},
                "b": {"choice": [1], "when": {"c": 1}},
                "c": {"choice": [1], "when": {"a": 1}},
            },
            "a: conditions form a cycle, a -> b -> c -> a; drop one of the conditions",
        ),
        (
            {
                "a": {"choice": [1, 2]},
                "b": {"choice": [1], "when": {"a": 1}},
                "c": {"uniform": [0, 1], "when": {"a": 2, "b": 1}},
            },
            "c: branch 1 can never be active, as nothing fulfils when {'a': 2, 'b': 1}; "
            "change its conditions, or drop it",
        ),
        (
            {
                "a": {"choice": [1, 2]},
                "b": [{"choice": [1], "when": {"a": 1}}, {"choice": [2], "when": {"a": 2}}],
                "c": {"uniform": [0, 1], "when": {"a": 1, "b": 2}},
            },
            "c: branch 1 can never be active, as nothing fulfils when {'a': 1, 'b': 2}; "
            "change its conditions, or drop it",
        ),
    ],
)
def test_error_names_axis_value_rule_and_way_out(form: Any, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        Space.parse(form)
    assert str(caught.value) == message


def test_conditions_that_combine_without_end_are_refused() -> None:
    many = {f"a{i}": {"choice": list(range(10))} for i in range(12)}
    tied = many | {"z": {"uniform": [0, 1], "when": dict.fromkeys(many, 1)}}
    with pytest.raises(SpaceError, match=f"more than {MAX_CASES} cases; let fewer axes depend"):
        Space.parse(tied)


def test_many_small_conditions_are_walked_apart() -> None:
    form: dict[str, Any] = {f"a{i}": {"choice": [0, 1]} for i in range(60)}
    form |= {f"b{i}": {"choice": [0, 1], "when": {f"a{i}": 1}} for i in range(60)}
    assert Space.parse(form).size == 3**60


def test_bad_points_are_explained() -> None:
    space = Space.parse(BRANCHED)
    good: dict[str, Any] = {"beta": 0.1, "learning_rate": 1e-6, "length_norm": "none"}
    assert space.why_not(good) is None
    assert space.contains(good)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"beta": 2.0}, "beta: 2.0 lies outside; give one in log_uniform [0.01, 0.5]"),
        ({"length_norm": "mean"}, "beta: 0.1 lies outside; give one in log_uniform [1.0, 20.0]"),
        (
            {"length_norm": "ld"},
            "length_norm: 'ld' is not among the choices; "
            "give one of ['none', 'mean', 'rdpo', 'simpo']",
        ),
        (
            {"length_norm": "simpo"},
            "beta: 0.1 is given, but the axis does not exist with length_norm='simpo'; drop it",
        ),
        (
            {"gamma_ratio": 0.5},
            "gamma_ratio: 0.5 is given, but the axis does not exist with length_norm='none'; "
            "drop it",
        ),
        (
            {"learning_rat": 1},
            "point: 'learning_rat' is no axis of this space; did you mean \"learning_rate\"?",
        ),
    ]
    for change, message in changes:
        assert space.why_not(good | change) == message
        assert not space.contains(good | change)
    assert space.why_not({"length_norm": "none", "learning_rate": 1e-6}) == (
        "beta: is missing; give a value in log_uniform [0.01, 0.5]"
    )


def test_points_of_an_absent_parent_are_explained() -> None:
    space = Space.parse(
        {
            "a": {"choice": [1, 2]},
            "b": {"choice": [1, 2], "when": {"a": 1}},
            "c": {"choice": [1, 2], "when": {"b": 1}},
        }
    )
    assert space.why_not({"a": 2, "c": 1}) == (
        "c: 1 is given, but the axis does not exist with no b; drop it"
    )


def test_true_is_not_one_in_a_condition() -> None:
    space = Space.parse(
        {"flag": {"choice": [True, False]}, "n": {"uniform": [0, 1], "when": {"flag": True}}}
    )
    assert space.contains({"flag": True, "n": 0.5})
    assert not space.contains({"flag": 1, "n": 0.5})


def test_golden_keys_and_order() -> None:
    space = Space.parse(BRANCHED)
    assert space.names == ("learning_rate", "length_norm", "beta", "gamma_ratio")
    assert space.axis_of_keys() == {
        "learning_rate": LogUniform(1e-7, 3e-6),
        "length_norm": Choice(["none", "mean", "rdpo", "simpo"]),
        "beta[length_norm=none|rdpo]": LogUniform(0.01, 0.5),
        "beta[length_norm=mean]": LogUniform(1, 20),
        "gamma_ratio": Uniform(0.1, 0.8),
    }
    point = {"length_norm": "mean", "beta": 5.0, "learning_rate": 1e-6}
    assert space.keys_of(point) == {
        "learning_rate": 1e-6,
        "length_norm": "mean",
        "beta[length_norm=mean]": 5.0,
    }


def test_golden_fingerprint() -> None:
    # Stored beside finished sweeps: if this changes, none of them can be resumed.
    assert Space.parse(BRANCHED).fingerprint() == (
        "77137d70b1482aec98af0e9f5b678923ca234f7f0e74a2982f4964b73f213ddf"
    )


def test_keys_tell_text_from_numbers() -> None:
    odd = ["1", 1.5, True, None, "null", "a|b", "a", "x=y"]
    space = Space.parse(
        {"p": {"choice": odd}, "q": [{"uniform": [0, 1], "when": {"p": value}} for value in odd]}
    )
    assert [key for key in space.axis_of_keys() if key != "p"] == [
        'q[p="1"]',
        "q[p=1.5]",
        "q[p=true]",
        "q[p=null]",
        'q[p="null"]',
        'q[p="a|b"]',
        "q[p=a]",
        'q[p="x=y"]',
    ]


def test_golden_yaml_round_trip() -> None:
    space = Space.parse(BRANCHED)
    assert space.to_yaml() == BRANCHED
    assert list(space.to_yaml()) == list(BRANCHED)
    assert Space.parse({"norm": "mean"}).to_yaml() == {"norm": {"choice": ["mean"]}}


@pytest.mark.parametrize(
    ("form", "size", "conditional"),
    [
        ({"a": 1}, 1, False),
        ({"a": {"choice": [1, 2]}, "b": {"choice": [1, 2, 3]}}, 6, False),
        ({"a": {"choice": [1, 2]}, "b": {"choice": [1, 2, 3], "when": {"a": 1}}}, 4, True),
        ({"a": {"choice": [1, 2]}, "b": {"uniform": [0, 1]}}, None, False),
    ],
)
def test_size(form: dict[str, Any], size: int | None, conditional: bool) -> None:
    space = Space.parse(form)
    assert space.size == size
    assert space.is_conditional == conditional


def test_drawn_values_are_checked() -> None:
    with pytest.raises(SpaceError, match=r"^a: 2 lies outside; give one in uniform \[0.0, 1.0\]$"):
        Space.parse({"a": {"uniform": [0, 1]}}).sample(lambda key, axis: 2)


def test_keys_of_a_bad_point_are_refused() -> None:
    with pytest.raises(SpaceError, match="a: is missing"):
        Space.parse({"a": 1}).keys_of({})


@calm
@given(spaces, st.integers())
def test_samples_are_contained_and_keys_invert_them(space: Space, seed: int) -> None:
    drawn: dict[str, Any] = {}
    draw = seeded(seed)

    def record(key: str, axis: Axis) -> Any:
        assert space.axis_of_keys()[key] == axis
        assert key not in drawn
        drawn[key] = draw(key, axis)
        return drawn[key]

    point = space.sample(record)
    assert space.why_not(point) is None
    assert space.keys_of(point) == drawn
    assert space.sample(lambda key, axis: drawn[key]) == point
    assert space.keys_of(json.loads(json.dumps(point))) == drawn


@calm
@given(spaces, st.integers())
def test_taking_or_adding_an_axis_leaves_the_space(space: Space, seed: int) -> None:
    point = space.sample(seeded(seed))
    for name in space.names:
        others = {key: value for key, value in point.items() if key != name}
        changed = others if name in point else {**point, name: 1}
        assert not space.contains(changed)


@calm
@given(spaces)
def test_yaml_round_trips(space: Space) -> None:
    again = Space.parse(json.loads(json.dumps(space.to_yaml())))
    assert again == space
    assert again.names == space.names
    assert again.fingerprint() == space.fingerprint()
    assert pickle.loads(pickle.dumps(space)) == space


@calm
@given(spaces, st.randoms())
def test_fingerprint_does_not_know_the_order_of_axes(space: Space, rng: random.Random) -> None:
    items = list(space.to_yaml().items())
    rng.shuffle(items)
    shuffled = [(n, form[::-1] if isinstance(form, list) else form) for n, form in items]
    assert Space.parse(dict(shuffled)).fingerprint() == space.fingerprint()


@calm
@given(spaces, spaces)
def test_fingerprint_tells_spaces_apart(one: Space, two: Space) -> None:
    assert (one == two) <= (one.fingerprint() == two.fingerprint())
    if one.axis_of_keys() != two.axis_of_keys():
        assert one.fingerprint() != two.fingerprint()


@calm
@given(spaces)
def test_parents_come_first(space: Space) -> None:
    for name, branches in space.axes.items():
        for branch in branches:
            for other in branch.when:
                assert space.names.index(other) < space.names.index(name)


@calm
@given(forms(only_choices=True).map(parsed))
def test_size_counts_the_points(space: Space) -> None:
    pools: dict[str, set[Any]] = {name: {ABSENT} for name in space.names}
    for name, branches in space.axes.items():
        pools[name].update(value for b in branches for value in b.axis.to_yaml()["choice"])
    assume(math.prod(map(len, pools.values())) <= 300)
    points = [dict(zip(pools, values, strict=True)) for values in product(*pools.values())]
    present = [{n: v for n, v in point.items() if v is not ABSENT} for point in points]
    assert sum(map(space.contains, present)) == space.size


class Config(BaseModel):
    space: Annotated[Space, BeforeValidator(load_space)]


def test_space_fits_into_a_pydantic_model() -> None:
    assert Config(space={"a": 1}).space == Space.parse({"a": 1})  # type: ignore[arg-type]
    assert Config(space=Space.parse({"a": 1})).space.names == ("a",)
    with pytest.raises(ValueError, match="preset: 'nope' is unknown"):
        Config(space="nope")  # type: ignore[arg-type]


def test_public_names() -> None:
    assert search_spaces.__all__ == [
        "Axis",
        "Choice",
        "LogUniform",
        "Space",
        "SpaceError",
        "Uniform",
        "load_preset",
        "load_space",
        "preset_names",
    ]
    assert all(hasattr(search_spaces, name) for name in search_spaces.__all__)
