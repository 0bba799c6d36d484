"""A sweep's YAML: the whole contract parses, every mistake is one line that says the way out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dpo_core.errors import SettingsError
from dpo_core.settings import LoraSettings
from search_spaces import Choice, LogUniform, load_preset
from sweeps.config.load import load_sweep, parse_sweep, resolved
from sweeps.config.schema import SweepConfig
from sweeps.config.strict_yaml import dump_yaml, load_yaml

CONTRACT = """\
name: hh
seed: 0
storage: runs
model:
  path: models/tiny
  dtype: float32
  adapter: {kind: lora, rank: 16, alpha: 32, targets: all-linear}
data:
  path: pairs.jsonl
  max_tokens: 512
  select_fraction: .2
  final_fraction: .2
space:
  learning_rate: {log_uniform: [1e-6, 1e-4]}
  beta: {log_uniform: [1e-2, 5e-1]}
  length_norm: {choice: [none, mean]}
training:
  max_steps: 40
  batch_pairs: 8
  evaluations: 2
  warmup_fraction: 0.1
search:
  sampler: gp
  trials: 14
  concurrent: 1
  scheduler: none
selection:
  objective: reward_accuracy
resources:
  workers: 1
  cpus_per_worker: 1
  gpus_per_worker: 0
"""
SHORT = """\
name: hh
model: {path: m}
data: {path: d.jsonl}
space: lora
training: {max_steps: 4}
"""


def parse(text: str, *overrides: str):
    return parse_sweep(text, source="sweep.yaml", overrides=overrides)


def complaint(text: str, *overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(text, *overrides)
    return str(caught.value)


def test_the_contract_parses_to_the_values_it_shows() -> None:
    config = parse(CONTRACT)
    assert (config.name, config.seed, config.storage) == ("hh", 0, "runs")
    assert (config.model.path, config.model.dtype) == ("models/tiny", "float32")
    assert config.model.adapter == LoraSettings(
        kind="lora", rank=16, alpha=32, targets="all-linear"
    )
    data = config.data
    assert (data.path, data.max_tokens) == ("pairs.jsonl", 512)
    assert (data.select_fraction, data.final_fraction) == (0.2, 0.2)
    assert config.search_space.axis_of_keys() == {
        "learning_rate": LogUniform(0.000001, 0.0001),
        "beta": LogUniform(0.01, 0.5),
        "length_norm": Choice(["none", "mean"]),
    }
    training = config.training
    assert (training.max_steps, training.epochs, training.batch_pairs) == (40, None, 8)
    assert (training.evaluations, training.warmup_fraction) == (2, 0.1)
    assert training.evaluation_steps(40) == (20, 40)
    search = config.search
    assert (search.sampler, search.trials, search.concurrent, search.scheduler) == (
        ("gp", 14, 1, "none")
    )
    assert config.selection.objective == "reward_accuracy"
    resources = config.resources
    assert (resources.workers, resources.cpus_per_worker, resources.gpus_per_worker) == (
        1,
        1.0,
        0.0,
    )


def test_what_the_contract_spells_out_is_also_the_default() -> None:
    short, full = parse(SHORT, "selection.confirm.top=0"), parse(CONTRACT)
    for section in ("search", "selection", "resources"):
        assert getattr(short, section) == getattr(full, section)
    assert (short.seed, short.storage) == (full.seed, full.storage)
    assert short.model.adapter == full.model.adapter


@pytest.mark.parametrize("name", ["demo", "full", "lora"])
def test_a_preset_is_named(name: str) -> None:
    assert parse(SHORT, f"space={name}").search_space == load_preset(name)


@pytest.mark.parametrize(
    ("space", "trials"),
    [("lora", 3), ("full", 3), ("demo", 0), ("{beta: 0.1, learning_rate: 1.0e-5}", 0)],
)
def test_the_presets_for_work_confirm_three_points_with_a_new_seed(space: str, trials: int) -> None:
    config = parse(SHORT, f"space={space}")
    assert config.selection.confirm.trials(config.search.trials) == trials
    again = parse_sweep(dump_yaml(resolved(config, "runs")), source="config.yaml")
    assert again.selection == config.selection


@pytest.mark.parametrize(
    ("override", "searched", "trials"),
    [
        ("selection.confirm.top=0", 8, 0),
        ("selection.confirm.seeds=0", 8, 0),
        ("selection.confirm={top: 2}", 8, 2),
        ("selection.confirm={seeds: 5}", 8, 15),
        ("selection.confirm={top: 4, seeds: 2}", 3, 6),  # a search of three has three points
    ],
)
def test_confirmation_as_it_is_given(override: str, searched: int, trials: int) -> None:
    assert parse(SHORT, override).selection.confirm.trials(searched) == trials


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "random"])
def test_a_search_for_accuracy_against_drift(sampler: str) -> None:
    config = parse(SHORT, f"search={{objectives: [accuracy, drift], sampler: {sampler}}}")
    assert config.search.objectives == ["accuracy", "drift"]
    again = parse_sweep(dump_yaml(resolved(config, "runs")), source="config.yaml")
    assert again.search == config.search


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("{objectives: [drift]}", "objectives: ['drift'] must be [accuracy] or [accuracy, drift]"),
        ("{objectives: []}", "objectives: [] must be [accuracy] or [accuracy, drift]"),
        ("{objectives: [accuracy, accuracy]}", "must be [accuracy] or [accuracy, drift]"),
        ("{objectives: [accuracy, drift], scheduler: asha}", "scheduler: asha compares trials by"),
        ("{sampler: nsga2}", "sampler: nsga2 is for two objectives; use tpe, or objectives: "),
    ],
)
def test_objectives_that_cannot_be_searched(search: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(SHORT, f"search={search}")
    assert expected in str(caught.value)


def test_a_guardrail_keeps_what_is_not_given() -> None:
    rails = parse(SHORT, "selection.guardrails.drift_chosen.limit=0.3").selection.guardrails
    assert rails.drift_chosen.model_dump() == {"limit": 0.3, "action": "exclude"}
    rails = parse(SHORT, "selection.guardrails={displaced: {limit: 1}}").selection.guardrails
    assert rails.displaced.model_dump() == {"limit": 1.0, "action": "warn"}
    assert rails.drift_chosen.limit == 0.5


def test_a_guardrail_of_an_earlier_version_keeps_its_action_and_not_its_limit() -> None:
    earlier = "{length_controlled_loss: {limit: 0.0, action: warn}, repetition: {limit: 0.4}}"
    rails = parse(SHORT, f"selection.guardrails={earlier}").selection.guardrails
    assert rails.length_bias.model_dump() == {"limit": 0.5, "action": "warn"}
    assert rails.loops.model_dump() == {"limit": 0.1, "action": "exclude"}
    both = "{repetition: {action: warn}, loops: {limit: 0.2}}"
    rails = parse(SHORT, f"selection.guardrails={both}").selection.guardrails
    assert rails.loops.model_dump() == {"limit": 0.2, "action": "exclude"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("drift={limit: 1}", "guardrails.drift: is an unknown key; known are displaced, drift_ch"),
        ("displaced.limit=high", "guardrails.displaced.limit: 'high' is text; write a number"),
        ("displaced=0.3", "guardrails.displaced: 0.3 is a number; write a mapping"),
        ("displaced.action=stop", "displaced.action: 'stop' is unknown; use one of warn, exclude"),
    ],
)
def test_guardrails_that_are_none(override: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(SHORT, f"selection.guardrails.{override}")
    assert expected in str(caught.value)


def test_an_incumbents_path_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "last").mkdir()
    monkeypatch.chdir(tmp_path)
    tree = resolved(parse(SHORT, "selection.incumbent=last"), "runs")
    assert tree["selection"]["incumbent"] == str(tmp_path / "last")


def test_full_fine_tuning_is_an_adapter_of_null() -> None:
    assert parse(SHORT.replace("path: m", "path: m, adapter: null")).model.adapter is None


def test_epochs_in_place_of_steps() -> None:
    config = parse(SHORT.replace("max_steps: 4", "epochs: 1.5, batch_pairs: 8"))
    assert config.training.max_steps is None
    assert config.training.steps(100) == 19  # 1.5 · 100 / 8 = 18.75, and the rest is trained too


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(SHORT).name = "other"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "modle={path: m}",
            "modle: is an unknown key; did you mean model?",
        ),
        (
            "search.trails=4",
            "search.trails: is an unknown key; did you mean search.trials?",
        ),
        (
            "model.adapter.bias=all",
            "model.adapter.bias: is an unknown key; known are alpha, dropout, kind, rank, targets",
        ),
        ("training={batch_pairs: 8}", "training: give either max_steps or epochs, and not both"),
        ("training.epochs=1", "training: give either max_steps or epochs, and not both"),
        ("model.path=null", "model.path: null is no value here; write text"),
        ("search.trials=many", "search.trials: 'many' is text; write a whole number"),
        ("search.trials=0", "search.trials: 0 is too small; give at least 1"),
        (
            "search.sampler=cma",
            "search.sampler: 'cma' is unknown; use one of tpe, gp, nsga2, random",
        ),
        ("search=tpe", "search: 'tpe' is text; write a mapping with any of the keys sampler, "),
        (
            "selection.objective=loss",
            "selection.objective: 'loss' is unknown; use one of reward_acc",
        ),
        (
            "resources.cpus_per_worker=0",
            "resources.cpus_per_worker: 0 is too small; give more than 0",
        ),
        ("seed=-1", "seed: -1 is too small; give at least 0"),
        ("name=Has Spaces", "name: 'Has Spaces' is no name of at most 41"),
        ("name=-x", "name: '-x' is no name of at most 41"),
        ("name=../up", "name: '../up' is no name of at most 41"),
        ("storage='  '", "storage: an empty name; give a folder or a URI"),
        ("space=huge", "space: preset: 'huge' is unknown; use one of demo, full, lora"),
        (
            "space={beta: .1, learning_rate: .1, dropout: .1}",
            "space.dropout: is no DPO hyperparameter; use one of learning_rate, length_norm",
        ),
        ("space={beta: {uniform: [2, 1]}}", "space: beta: low=2.0 must be < high=1.0; swap them"),
        (
            "space={beta: {log_uniform: [0, 1]}}",
            'space: beta: low=0.0 must be > 0 on a log axis; raise it or use "uniform"',
        ),
        (
            "space={beta: .1}",
            "space.learning_rate: missing; every point needs one",
        ),
        ("space={learning_rate: .1}", "space.beta: a point needs either beta"),
        (
            "space={beta: .1, learning_rate: fast}",
            "space.learning_rate: 'fast' is text; write a number",
        ),
        (
            "space={beta: .1, learning_rate: .1, length_norm: median}",
            "length_norm: 'median' is unknown; use one of none, mean, simpo, rdpo, ld",
        ),
        ("space=3", "space: 3 is a number; write text in quotes, such as"),
        (
            "data.select_fraction=0.9",
            "data: select_fraction + final_fraction = 1.1 leaves nothing to train on; keep",
        ),
        (
            "training.trl={beta: 0.1}",
            "training: trl.beta cannot be given: β is searched: give it as an axis of `space`",
        ),
        (
            "training.trl={weight_decay: 0.1, max_length: 9}",
            "training: trl.max_length cannot be given: use `data.max_tokens`",
        ),
        (
            "resources.workers=3",
            "training.batch_pairs: 8 pairs cannot be divided evenly among 3 workers; use a multiple",
        ),
        (
            "resources.workers=16",
            "training.batch_pairs: 8 pairs cannot be divided evenly among 16 workers; use a multiple",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_file_key_value_and_rule(
    override: str, expected: str
) -> None:
    message = complaint(SHORT, override)
    lines = [line for line in message.splitlines() if expected in line]
    assert lines, message
    assert all(line.startswith("sweep.yaml: ") for line in message.splitlines())
    assert "pydantic" not in message


def test_missing_keys_are_all_named_at_once() -> None:
    message = complaint("name: hh\n")
    assert message.splitlines() == [
        f"sweep.yaml: {key}: is missing and has no default; add it"
        for key in ("model", "data", "space", "training")
    ]


def test_lora_rank_without_an_adapter() -> None:
    space = "space={beta: .1, learning_rate: .1, lora_rank: {choice: [8, 16]}}"
    assert parse(SHORT, space).search_space.names == ("beta", "learning_rate", "lora_rank")
    assert complaint(SHORT, space, "model.adapter=null") == (
        "sweep.yaml: space.lora_rank: there is no adapter; set model.adapter or drop the axis"
    )


BRANCHES = (
    "space={learning_rate: {log_uniform: [1e-6, 1e-4]}, length_norm: {choice: [none, simpo]}, "
    "beta: .1, gamma_ratio: {uniform: [.1, .8], when: {length_norm: simpo}}}"
)


def test_a_gaussian_process_takes_no_branches() -> None:
    assert parse(SHORT, BRANCHES).search_space.is_conditional
    assert parse(SHORT, BRANCHES, "search.trials=5").search.sampler == "tpe"
    assert parse(SHORT, "search.trials=5").search.sampler == "gp"
    assert parse(SHORT, "search.sampler=random").search.sampler == "random"
    assert complaint(SHORT, BRANCHES, "search.sampler=gp") == (
        "sweep.yaml: search.sampler: gp cannot search branches; use tpe, or one flat space"
    )


def test_a_search_ends_with_its_space() -> None:
    space = "space={beta: {choice: [0.1, 0.3]}, learning_rate: 1.0e-5}"
    config = parse(SHORT, space)
    assert (config.planned_trials, config.selection.confirm.trials(2)) == (2, 0)
    assert config.shortage == (
        "search.trials: the space has 2 points, and none is trained twice with one seed; the search "
        "ends after 2 of 14 trials"
    )
    for fits in (parse(SHORT, space, "search.trials=2"), parse(SHORT)):
        assert (fits.planned_trials, fits.shortage) == (fits.search.trials, None)


def test_a_branch_that_breaks_a_rule_is_found_before_any_trial() -> None:
    rare = BRANCHES.replace("beta: .1", "beta_per_token: 2")  # has no meaning with none
    assert "beta_per_token: has no meaning with length_norm=none" in complaint(SHORT, rare)


# --set


def test_set_takes_yaml_values_at_any_depth() -> None:
    config = parse(
        CONTRACT,
        "search.trials=20",
        "model.adapter.rank=8",
        "space.beta={log_uniform: [1e-3, 1e-1]}",
        "storage=s3://bucket/sweeps?region=eu",
        "data.select_fraction = 1e-1",
        "training.trl.weight_decay=0.01",
    )
    assert config.search.trials == 20
    assert config.model.adapter == LoraSettings(rank=8)
    assert config.search_space.axis_of_keys()["beta"] == LogUniform(0.001, 0.1)
    assert config.storage == "s3://bucket/sweeps?region=eu"
    assert config.data.select_fraction == 0.1
    assert config.training.trl == {"weight_decay": 0.01}


@pytest.mark.parametrize("nothing", ["null", "~", "", " ", "Null", "NULL"])
def test_set_null(nothing: str) -> None:
    assert parse(CONTRACT, f"model.adapter={nothing}").model.adapter is None


def test_the_last_set_wins() -> None:
    assert parse(SHORT, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search.trials", "--set search.trials: is not of the form key.key=value"),
        ("=4", "--set =4: is not of the form key.key=value"),
        ("search..trials=4", "--set search..trials=4: is not of the form key.key=value"),
        (".=4", "--set .=4: is not of the form key.key=value"),
        ("name.first=x", "--set name.first: name is no mapping, so nothing can be set in it"),
        ("space.beta=[1", "--set space.beta:1:3: a bracket is not closed; add a comma or"),
        ("name=a: b: c", '--set name:1:5: a ":" that does not belong here'),
        ("data={path: a, path: b}", "key 'path' on line 1 was given on line 1 already"),
    ],
)
def test_set_that_is_none(override: str, expected: str) -> None:
    assert expected in complaint(SHORT, override)


# Files and syntax


def test_a_duplicate_key_names_both_lines() -> None:
    assert complaint(SHORT + "name: again\n") == (
        "sweep.yaml:6:1: key 'name' on line 6 was given on line 1 already; keep one of them"
    )


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "3\n"])
def test_a_document_that_is_no_mapping(text: str) -> None:
    assert "a sweep is a mapping of keys" in complaint(text)


def test_a_sweep_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "with 'quotes' and ü.yaml"
    file.write_text("\ufeff" + CONTRACT, encoding="utf-8")
    assert load_sweep(file, ["seed=3"]) == parse(CONTRACT, "seed=3")
    assert load_sweep(str(file)) == parse(CONTRACT)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin1.yaml").write_bytes("name: h\n# gr\xfcn".encode("latin-1"))
    message = {
        "none.yaml": "no such file; give the path of a sweep's YAML",
        "": "is a folder; give the path of a sweep's YAML",
        "latin1.yaml": "byte 12 is no UTF-8; save it as UTF-8",
        "latin1.yaml/sweep.yaml": "cannot be read (Not a directory); give the path of a sweep's",
    }
    for name, reason in message.items():
        with pytest.raises(SettingsError) as caught:
            load_sweep(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {reason}")


# Round trip

small = st.floats(1e-8, 0.4, allow_nan=False)
overrides = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**40),
        "name": st.from_regex(r"\A[a-z0-9][-a-z0-9]{0,40}\Z"),
        "storage": st.sampled_from(["runs", "s3://b/p", "a b", "ü", "null", "1e-5", "on", "010"]),
        "model.adapter": st.sampled_from([None, {"rank": 4, "targets": ["q_proj", "v_proj"]}]),
        "data.select_fraction": small,
        "data.final_fraction": small,
        "space.beta": st.builds(lambda low: {"log_uniform": [low, 1.0]}, small),
        "space.learning_rate": small,
        "training.trl": st.dictionaries(
            st.sampled_from(["weight_decay", "max_grad_norm"]), st.floats(0, 1)
        ),
        "search.trials": st.integers(1, 1000),
        "resources.workers": st.sampled_from([1, 2, 4, 8]),
    },
)


@settings(deadline=None, max_examples=60)
@given(overrides)
def test_config_to_yaml_to_config(changes: dict) -> None:
    tree = load_yaml(CONTRACT, source="x")
    for name, value in changes.items():
        *sections, key = name.split(".")
        inner = tree
        for section in sections:
            inner = inner[section]
        inner[key] = value
    config = parse(dump_yaml(tree))
    again = parse(dump_yaml(resolved(config, config.storage)))
    assert again == config
    assert again.search_space == config.search_space
    for name, value in changes.items():
        if name in ("seed", "name", "storage"):
            assert getattr(again, name) == value


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.from_regex(r"\A[a-z]{1,8}\Z"), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(anything.filter(lambda value: value is not None))
@example({"a": ["1e-5", "on", "010", "~", "", "<<", "=", ".inf", "1_0", "2024-01-01", " x ", "#"]})
@example({"a": [1e-5, 1e300, 0, -0.5, True, None, "a\nb: c\n", "'", '"', "ü", "😀"]})
def test_what_is_dumped_is_what_is_loaded(value: object) -> None:
    text = dump_yaml(value)
    assert load_yaml(text, source="x") == value
    assert yaml.safe_load(text) == value


def test_what_a_sweep_stores_can_be_read_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "d.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    stored = resolved(parse(SHORT, "model.path=m"), "/elsewhere/runs")
    assert stored["model"]["path"] == str(tmp_path / "m")
    assert stored["data"]["path"] == str(tmp_path / "d.jsonl")
    assert stored["storage"] == "/elsewhere/runs"
    hub = resolved(parse(SHORT, "model.path=org/model", "data.path=org/pairs"), "s3://b/p")
    assert (hub["model"]["path"], hub["data"]["path"]) == ("org/model", "org/pairs")
    assert parse(dump_yaml(stored)) == parse(
        SHORT,
        f"model.path={tmp_path}/m",
        f"data.path={tmp_path}/d.jsonl",
        "storage=/elsewhere/runs",
    )


def test_two_sweeps_that_differ_in_a_leaf_are_not_equal() -> None:
    assert parse(SHORT) == parse(SHORT)
    assert parse(SHORT) != parse(SHORT, "space=full")
    assert parse(SHORT) != parse(SHORT, "training.warmup_fraction=0")


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ([], "float32"),
        (["resources={gpus_per_worker: 0.5}"], "bfloat16"),
        (["resources={gpus_per_worker: 1}", "model.dtype=float16"], "float16"),
    ],
)
def test_a_gpu_computes_in_bfloat16_unless_told(given: list[str], dtype: str) -> None:
    text = "name: a\nmodel: {path: m}\ndata: {path: d}\nspace: lora\ntraining: {max_steps: 1}\n"
    assert parse_sweep(text, source="test", overrides=given).model.dtype == dtype


@pytest.mark.parametrize(
    "override",
    [
        "storage=s3://AKIA0123456789ABCDEF:cAnArY@bucket/runs",
        "model.path=https://me:cAnArY@hub.example/model",
        "training.trl={hub_token: hf_cAnArY0123456789}",
    ],
)
def test_a_secret_in_a_config_is_refused_and_not_repeated(override: str) -> None:
    message = complaint(CONTRACT, override)
    assert message.startswith(f"sweep.yaml: {override.partition('=')[0]}")
    assert "holds what looks like a password or token" in message
    assert "cAnArY" not in message


def test_defaults_that_depend_on_other_keys_are_the_schemas_own() -> None:
    """Whatever makes a `SweepConfig` gets them, not only who reads YAML."""
    tree = {
        "name": "a",
        "model": {"path": "m"},
        "data": {"path": "d"},
        "space": "lora",
        "training": {"max_steps": 1},
        "resources": {"gpus_per_worker": 1},
    }
    config = SweepConfig(**tree)
    assert config.model.dtype == "bfloat16"
    assert config.selection.confirm.trials(8) == 3
    assert config.search.sampler == "gp"
    branched = {"space": load_yaml(BRANCHES.removeprefix("space="), source="branches")}
    assert SweepConfig(**tree | branched).search.sampler == "tpe"
    given = SweepConfig(**tree | {"selection": {"sample_prompts": 2, "confirm": {"top": 1}}})
    assert given.selection.confirm.trials(8) == 1
    assert SweepConfig(**tree | {"selection": {"sample_prompts": 2}}).selection.confirm.top == 3
