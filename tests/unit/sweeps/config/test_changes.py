"""What may change of a config when its sweep goes on: every key, each way in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_core.errors import SettingsError
from sweeps.config.changes import (
    changed_by_file,
    changed_by_overrides,
    config_changes,
    left_out,
    may_change,
)
from sweeps.config.load import config_of, override, parse_sweep, resolved
from sweeps.config.schema import SweepConfig
from sweeps.config.strict_yaml import dump_yaml
from tests.support.config_keys import fields_of

SWEEP = """\
name: hh
storage: /shared/runs
model: {path: /models/base, adapter: {rank: 4}}
data: {path: pairs.jsonl}
space: lora
training: {max_steps: 4}
search: {trials: 6}
"""
MAY_CHANGE = (
    *("data.quiet_findings", "export.", "resources.", "selection.", "trackers.", "nightly."),
    *(
        f"search.{name}"
        for name in ("concurrent", "retries", "sampler", "scheduler", "study", "trials")
    ),
)


def stored(*overrides: str) -> SweepConfig:
    """The config as the run directory has it: with every default written out."""
    config = parse_sweep(SWEEP, source="test", overrides=overrides)
    return parse_sweep(dump_yaml(resolved(config, "/shared/runs")), source="config.yaml")


def given(config: SweepConfig, *overrides: str, text: str = SWEEP) -> SweepConfig:
    """What a sweep goes on with when its YAML is given again, with `--set`."""
    tree: dict[str, Any] = yaml.safe_load(text)
    override(tree, overrides)
    return changed_by_file(config, tree, source="sweep.yaml")


def overridden(config: SweepConfig, *overrides: str, stage: Any = "search") -> SweepConfig:
    return changed_by_overrides(config, overrides, source="config.yaml", stage=stage)


WAYS_IN = pytest.mark.parametrize("go_on", [given, overridden])


def test_every_key_is_decided_and_what_nobody_decided_may_not_change() -> None:
    leaves = {key for key, _ in fields_of(SweepConfig)}
    groups = {key.rpartition(".")[0] for key in leaves}
    may = {key for key in leaves - groups if may_change(key, "search")}
    expected = {key for key in leaves - groups if key.startswith(MAY_CHANGE)}
    assert may == expected - {"selection.score_dtype"}
    assert not may_change("a.new.key", "search")
    choice = {key for key in may if may_change(key, "select")}
    assert choice == {key for key in may if key.startswith(("selection.", "export."))}


@WAYS_IN
def test_the_same_config_goes_on_as_it_is(go_on: Any) -> None:
    config = stored()
    assert go_on(config) is config
    assert go_on(config, "search.trials=6", "seed=0") is config, "it says what is so anyway"


@WAYS_IN
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("search.trials", 9),
        ("search.concurrent", 3),
        ("search.sampler", "random"),
        ("resources.gpus_per_worker", 1.0),
        ("trackers.wandb", "team"),
        ("selection.confirm.top", 1),
        ("selection.guardrails.loops.limit", 0.3),
        ("data.quiet_findings", ["near_duplicates"]),
    ],
)
def test_what_leaves_ended_trials_as_they_are_is_applied_alone(go_on, key: str, value) -> None:
    before = stored()
    after = go_on(before, f"{key}={value}")
    assert [(each.key, each.new) for each in config_changes(before, after)] == [(key, value)]
    assert after.model.dtype == "float32", "not the default of a GPU: earlier trials had this one"


@WAYS_IN
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed=9", "seed: is 0 in this sweep and cannot become 9, since splits, adapters and"),
        (
            "training.max_steps=8",
            "training.max_steps: is 4 in this sweep and cannot become 8, since",
        ),
        ("training.epochs=1", "give either max_steps or epochs"),
        ("model.adapter=null", "model.adapter: is {'kind': 'lora', 'rank': 4"),
        ("model.adapter.rank=8", "model.adapter.rank: is 4"),
        (
            "data.path=other.jsonl",
            "data.path: is pairs.jsonl in this sweep and cannot become other",
        ),
        ("space=full", "space: is lora in this sweep and cannot become full, since the search"),
        (
            "selection.score_dtype=model",
            "since held-out pairs were scored when they were evaluated",
        ),
        ("search.objectives=[accuracy, drift]", "since the sweep's study has the old objectives"),
        ("resources.workers=3", "training.batch_pairs: 8 pairs cannot be divided evenly"),
        ("search.trails=9", "search.trails: is an unknown key; did you mean search.trials?"),
    ],
)
def test_the_rest_is_refused_with_the_difference(go_on, change: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        go_on(stored(), change, "search.trials=9")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_refused_key_has_its_line() -> None:
    with pytest.raises(SettingsError) as refused:
        given(stored(), "seed=1", "name=other", "search.trials=9")
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["name", "seed"]
    assert all(line.endswith("; leave it as it is, or start a new sweep") for line in lines)


def test_a_sweep_that_was_moved_goes_on_where_it_is() -> None:
    assert given(stored(), "storage=/mnt/runs").storage == "/shared/runs"
    with pytest.raises(SettingsError, match=r"storage: is /shared/runs .* where its folder is"):
        overridden(stored(), "storage=/mnt/runs")


def test_a_relative_path_is_the_one_that_it_was(tmp_path: Path, monkeypatch) -> None:
    """A job's working directory has another name each time that one of its files differs."""
    first, second = tmp_path / "_ray_pkg_1", tmp_path / "_ray_pkg_2"
    for folder in (first, second):
        folder.mkdir()
        (folder / "pairs.jsonl").touch()
    monkeypatch.chdir(first)
    config = stored()
    assert config.data.path == f"{first}/pairs.jsonl"
    monkeypatch.chdir(second)
    assert given(config) is config
    with pytest.raises(
        SettingsError, match=r"data.path: is .*_ray_pkg_1/pairs.jsonl in this sweep"
    ):
        given(config, f"data.path={second}/pairs.jsonl")


def test_what_a_file_leaves_out_stays_and_is_told() -> None:
    config = stored("search.trials=9", "seed=4", "search.sampler=tpe")
    text = SWEEP.replace("search: {trials: 6}\n", "")
    tree = {**yaml.safe_load(text), "seed": 4}
    assert changed_by_file(config, tree, source="sweep.yaml") is config
    kept = left_out(config, tree, source="sweep.yaml")
    assert [str(each) for each in kept] == ["search.sampler: tpe -> gp", "search.trials: 9 -> 14"]


def test_a_guardrail_under_its_earlier_name_is_compared(tmp_path: Path) -> None:
    change = "selection.guardrails={length_controlled_loss: {limit: 0.2, action: warn}}"
    after = given(stored(), change)
    assert after.selection.guardrails.length_bias.action == "warn"


def test_before_anything_was_trained_any_key_may_change() -> None:
    after = overridden(stored(), "seed=9", "training.max_steps=8", stage="prepare")
    assert (after.seed, after.training.max_steps) == (9, 8)
    with pytest.raises(SettingsError, match="name: is hh in this sweep"):
        overridden(stored(), "name=other", stage="prepare")


def test_the_choice_alone_changes_nothing_that_was_trained() -> None:
    after = overridden(stored(), "selection.min_margin=0", "export.dtype=float32", stage="select")
    assert (after.selection.min_margin, after.export.dtype) == (0, "float32")
    with pytest.raises(SettingsError, match=r"search.trials: is 6 .* since the trials have run"):
        overridden(stored(), "search.trials=9", stage="select")


def test_changes_are_those_of_whole_configs() -> None:
    before = stored()
    assert config_changes(before, config_of(resolved(before, "/elsewhere"), source="test")) == []
    after = stored("model.adapter=null", "space=full")
    assert {each.key for each in config_changes(before, after)} >= {"model.adapter", "space"}
