"""Who could win answers held-out prompts: the real models, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import ModelError
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.finalize.export import export_and_score
from sweeps.finalize.incumbent import Incumbent, is_scored, score_incumbent
from sweeps.finalize.sample_answers import answer, sample
from sweeps.run_dir.answers import name_of, read_answers
from sweeps.run_dir.paths import SweepPaths

PLACE = ("t0000", 4)
NAME = "t0000-step-000004"


def config_of(paths: SweepPaths, **selection: Any) -> SweepConfig:
    given = {"sample_prompts": 3, "sample_tokens": 6, **selection}
    overrides = [f"selection.{name}={json.dumps(value)}" for name, value in given.items()]
    text = paths.store.read(paths.config).decode()
    return parse_sweep(text, source="config.yaml", overrides=overrides)


class Calls:
    """Runs what a worker would run, here, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, function: Any, *arguments: Any) -> Any:
        self.count += 1
        return function(*arguments)


@pytest.mark.parametrize("adapter", ["{rank: 4}", "null"])
def test_the_untouched_policy_says_what_the_reference_says(
    prepared,
    tmp_path: Path,
    adapter: str,
) -> None:
    paths = prepared(adapter, str(tmp_path / "runs"))
    found = answer(config_of(paths), paths, PLACE, None, Calls())
    assert found["by"][NAME] == found["by"]["reference"]
    assert name_of(PLACE) == NAME
    assert read_answers(paths) == found
    assert all(1 <= len(row["tokens"]) <= 6 for row in found["by"][NAME])
    lines = paths.store.read(paths.split("select")).splitlines()
    prompts = {row["id"]: row["prompt"] for row in map(json.loads, lines)}
    assert [prompts[p["id"]] for p in found["prompts"]] == [p["prompt"] for p in found["prompts"]]
    assert len({p["group"] for p in found["prompts"]}) == 3


def test_nobody_is_asked_twice_unless_the_question_is_another(
    prepared,
    tmp_path: Path,
) -> None:
    paths, call = prepared("{rank: 4}", str(tmp_path / "runs"), change=0.3), Calls()
    first = answer(config_of(paths), paths, PLACE, None, call)
    assert first["by"][NAME] != first["by"]["reference"]
    assert answer(config_of(paths), paths, PLACE, None, call) == first
    assert call.count == 1
    longer = answer(config_of(paths, sample_tokens=9), paths, PLACE, None, call)
    assert call.count == 2
    assert longer["max_new_tokens"] == 9
    both = zip(first["by"]["reference"], longer["by"]["reference"], strict=True)
    assert all(long["tokens"][:6] == short["tokens"] for short, long in both)


def test_the_sample_does_not_depend_on_the_order_of_the_pairs(
    prepared,
    tmp_path: Path,
) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"))
    before = sample(config_of(paths), paths)
    lines = paths.store.read(paths.split("select")).splitlines(keepends=True)
    paths.store.write(paths.split("select"), b"".join(reversed(lines)))
    assert sample(config_of(paths), paths) == before
    assert sample(config_of(paths, sample_prompts=2), paths)[0] == before[0][:2]
    everyone = sample(config_of(paths, sample_prompts=10_000), paths)[0]
    assert len(everyone) == len({json.loads(line)["group"] for line in lines})


def test_an_exported_model_is_scored_as_an_incumbent(
    prepared,
    tmp_path: Path,
) -> None:
    paths, call = prepared("{rank: 4}", str(tmp_path / "runs"), change=0.3), Calls()
    export_and_score(paths.ref, *PLACE)
    held = Incumbent("toy-1", f"{paths.store.uri}/{paths.best}")
    for _ in range(2):
        score_incumbent(paths, held, "final", call)
    assert call.count == 1
    assert paths.store.read(paths.incumbent_outcome("final"))
    assert is_scored(paths, held, "final")
    assert not is_scored(paths, held, "select")
    assert not is_scored(paths, Incumbent("other", "elsewhere"), "final")
    found = answer(config_of(paths), paths, PLACE, held, call)
    assert found["by"]["incumbent"] == found["by"][NAME], "the same model"


def test_an_incumbent_with_another_template_does_not_compare(
    prepared,
    tmp_path: Path,
) -> None:
    paths = prepared("{rank: 4}", str(tmp_path / "runs"))
    export_and_score(paths.ref, *PLACE)
    template = Path(paths.store.uri, paths.best, "chat_template.jinja")
    template.write_text(template.read_text().replace("You answer", "They answer"))
    held = Incumbent("toy-1", f"{paths.store.uri}/{paths.best}")
    with pytest.raises(ModelError, match="has another tokenizer or chat template"):
        score_incumbent(paths, held, "select", Calls())
    assert not paths.store.exists(paths.incumbent_outcome("select"))
