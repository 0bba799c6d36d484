"""The pins of a node's environment: those of the project's own ranges, all of them, and no other."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.repository import ROOT

PINS = ROOT / "cluster" / "constraints.txt"


def direct_dependencies() -> list[Requirement]:
    """What pyproject.toml asks for, extras too, without the project itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(text) for texts in lists for text in texts]
    return [r for r in requirements if r.name != project["name"]]


def read_pins(text: str) -> dict[str, str]:
    """Name to version; anything but `name==version` is an error."""
    pins: dict[str, str] = {}
    for line in text.splitlines():
        found = re.fullmatch(r"([A-Za-z0-9][\w.-]*)==([\w.]+)", line)
        assert found, f"{line!r} is no exact pin that every index has"
        name = canonicalize_name(found[1])
        assert name not in pins, f"{name} is pinned twice"
        pins[name] = found[2]
    return pins


def contradictions(pins: dict[str, str], requirements: list[Requirement]) -> list[str]:
    """Requirements that no installation under these pins can meet, or that are not pinned."""
    return [
        str(requirement)
        for requirement in requirements
        if not requirement.specifier.contains(
            pins.get(canonicalize_name(requirement.name), "0"), prereleases=True
        )
        or canonicalize_name(requirement.name) not in pins
    ]


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    requirements = direct_dependencies()
    assert len(requirements) > 20
    assert contradictions(read_pins(PINS.read_text("utf-8")), requirements) == []


def test_no_pin_contradicts_what_another_pinned_package_asks_for() -> None:
    """Only packages that are installed as pinned can be asked; where all are, that is a resolver."""
    pins = read_pins(PINS.read_text("utf-8"))
    asked, wrong = 0, []
    for name, version in pins.items():
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        if found.version.split("+")[0] != version:
            continue
        asked += 1
        needs = [Requirement(text) for text in found.requires or []]
        needs = [n for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]
        wrong += [f"{name}: {problem}" for problem in contradictions(pins, needs)]
    if asked < len(pins) / 2:
        pytest.skip("what is installed here is not what is pinned; install with -c constraints.txt")
    assert wrong == []


@pytest.mark.parametrize("pins", [{"filelock": "4.2.12"}, {"numpy": "2.4.6"}])
def test_a_pin_outside_its_range_and_a_missing_one_are_found(pins: dict[str, str]) -> None:
    assert contradictions(pins, [Requirement("filelock>=3.15,<4")]) == ["filelock<4,>=3.15"]


@pytest.mark.parametrize(
    "text", ["torch==2.13.0+cpu", "numpy>=2", "numpy==2.4.6\nNumPy==2.4.5", "-e ."]
)
def test_only_exact_public_versions_are_pins(text: str) -> None:
    with pytest.raises(AssertionError):
        read_pins(text)
