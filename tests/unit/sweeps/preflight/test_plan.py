"""What would run, counted by hand on digits: the toy tokenizer gives every digit its own token."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dpo_core.errors import DataError, ModelError, SettingsError
from dpo_core.models.lora_coverage import Coverage
from sweeps.cli import app as cli
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.preflight.plan import _final_openings, make_plan, plan_lines
from sweeps.preflight.sensitivity import sensitivity, sensitivity_lines
from sweeps.prepare.memory_estimate import (
    ModelSize,
    estimated_bytes_per_token,
    memory_bytes,
    model_size,
)
from tests.support.groups import alone
from tests.support.toys import save_toy_model, toy_tokenizer

PAIRS = 60
PROMPT, CHOSEN, REJECTED = 4, 6, 3  # tokens; an answer ends with an end-of-sequence token
PAIR = PROMPT + CHOSEN + REJECTED


def write_pairs(path: Path, *more: dict[str, str]) -> None:
    rows = [{"prompt": f"{i:04d}", "chosen": "7" * 5, "rejected": "3" * 2} for i in range(PAIRS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in (*rows, *more)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy_model(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def config(tmp_path: Path, model: Path):
    write_pairs(tmp_path / "pairs.jsonl")

    def build(*overrides: str) -> SweepConfig:
        text = f"""
name: toy
model: {{path: "{model}", adapter: {{rank: 4, alpha: 8}}}}
data: {{path: "{tmp_path}/pairs.jsonl", format: text, max_tokens: 40}}
space: lora
training: {{max_steps: 10, batch_pairs: 8, evaluations: 3, row_tokens: 64}}
search: {{trials: 5}}
resources: {{workers: 2, cpus_per_worker: 1.5}}
"""
        return parse_sweep(text, source="sweep.yaml", overrides=overrides)

    return build


def test_steps_pairs_and_tokens(config) -> None:
    plan = make_plan(config())
    pairs = plan["pairs"]
    assert (plan["name"], plan["trials"], plan["steps_per_trial"]) == ("toy", 5, 10)
    assert plan["confirmation"] == {"points": 3, "seeds": 1, "trials": 3}
    assert plan["evaluation_steps"] == [4, 7, 10]  # 10/3 and 20/3, rounded up, and the last
    assert sum(pairs.values()) == PAIRS
    assert all(pairs.values())
    assert plan["pairs_cut"] == plan["pairs_indistinct"] == dict.fromkeys(pairs, 0)
    assert plan["mean_response_tokens"] == plan["beta_per_token_factor"] == 4.5  # (6 + 3) / 2
    evaluated = 3 * pairs["select"] * PAIR
    assert plan["tokens"] == {
        "reference_once": 780,  # 60 pairs · 13 tokens
        "trained_per_trial": 1040,  # 10 steps · 8 pairs · 13 tokens
        "evaluated_per_trial": evaluated,
        "sweep": (5 + 3) * (1040 + evaluated),
    }
    assert plan["resources_per_trial"] == {"workers": 2, "cpus": 3.0, "gpus": 0.0}


def test_the_dtype_of_scoring_is_shown_where_there_is_a_choice(config) -> None:
    assert make_plan(config())["scoring"]["dtype"] == "float32"
    assert not any("scoring" in line for line in plan_lines(make_plan(config())))
    overrides = "model.dtype=bfloat16", "resources.gpus_per_worker=1"
    plan = make_plan(config(*overrides))
    shares = plan["scoring"]["share_by_dtype"]
    assert list(shares) == ["bfloat16", "float32"]
    assert 0 < shares["bfloat16"] < 0.2 < shares["float32"] < 1
    percent = [f"{100 * share:.0f} % of the compute in {dtype}" for dtype, share in shares.items()]
    assert plan_lines(plan)[9] == (
        f"scoring held-out pairs takes {percent[0]}, {percent[1]}; they are scored in bfloat16 "
        "(selection.score_dtype)"
    )
    chosen = make_plan(config(*overrides, "selection.score_dtype=float32"))
    assert chosen["scoring"]["dtype"] == "float32"


def test_a_sweep_without_confirmation_costs_its_trials(config) -> None:
    plan = make_plan(config("selection.confirm.top=0"))
    tokens = plan["tokens"]
    assert plan["confirmation"]["trials"] == 0
    assert tokens["sweep"] == 5 * (tokens["trained_per_trial"] + tokens["evaluated_per_trial"])
    assert not any("confirmation" in line for line in plan_lines(plan))


def test_a_finite_space_ends_the_search_early(config) -> None:
    space = "space={beta: {choice: [0.1, 0.3]}, learning_rate: {choice: [1.0e-5, 1.0e-4]}}"
    plan = make_plan(config(space))
    assert (plan["trials"], plan["confirmation"]["trials"]) == (4, 0)
    assert plan["shortage"] in plan_lines(plan)
    assert "the search ends after 4 of 5 trials" in str(plan["shortage"])
    assert make_plan(config())["shortage"] is None


def test_what_can_be_seen(config) -> None:
    plan = make_plan(config())
    for split in ("select", "final"):
        pairs = plan["pairs"][split]
        assert plan["sensitivity"][split] == sensitivity(alone(pairs))
    assert set(sensitivity_lines(plan["sensitivity"])) < set(plan_lines(plan))


@pytest.mark.parametrize(
    ("changes", "openings"),
    [
        ((), 1),
        (("selection.final_openings=5",), 5),
        (("nightly.warm_start_nights=7",), 30),
        (("nightly.warm_start_nights=7", "selection.final_openings=5"), 5),
    ],
)
def test_the_openings_of_final_are_those_that_the_sweep_would_declare(
    config, changes: tuple[str, ...], openings: int
) -> None:
    assert _final_openings(config(*changes)) == openings


def test_groups_are_counted(config, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"9{i // 2:03d}", "chosen": f"{i:05d}", "rejected": "3" * 2} for i in range(20)
    ]
    (tmp_path / "final.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    final = make_plan(config(f"data.final_path={tmp_path}/final.jsonl"))["sensitivity"]["final"]
    assert (final["pairs"], final["groups"]) == (20, 10)


def test_epochs_become_steps(config) -> None:
    plan = make_plan(config("training.max_steps=null", "training.epochs=2"))
    train = plan["pairs"]["train"]
    assert plan["steps_per_trial"] == -(-2 * train // 8)
    assert plan["evaluation_steps"][-1] == plan["steps_per_trial"]


def test_a_cut_pair_is_counted_once_though_prompt_and_answers_are_cut(
    config, tmp_path: Path
) -> None:
    # Of 40 tokens a long prompt keeps 20, which leaves 20 for each answer.
    long = {"prompt": "1" * 200, "chosen": "2" * 60, "rejected": "4" * 50}
    equal = {"prompt": "5" * 200, "chosen": "6" * 99, "rejected": "6" * 98 + "8"}
    write_pairs(tmp_path / "pairs.jsonl", long, equal)
    plan = make_plan(config())
    assert sum(plan["pairs_cut"].values()) == 2
    assert sum(plan["pairs_indistinct"].values()) == 1  # they differ first in their 99th token
    assert sum(plan["pairs"].values()) == PAIRS + 2
    [cut] = [finding for finding in plan["findings"] if finding["code"] == "cut"]
    assert cut["number"] == 2 / (PAIRS + 2)


def test_pairs_that_cutting_made_equal_are_not_trained(config, tmp_path: Path) -> None:
    equal = [
        {"prompt": f"{i:03d}", "chosen": "6" * 98 + "1", "rejected": "6" * 98 + "2"}
        for i in range(20)
    ]
    write_pairs(tmp_path / "pairs.jsonl", *equal)
    plan = make_plan(config("training={epochs: 1, batch_pairs: 2}"))
    train, indistinct = plan["pairs"]["train"], plan["pairs_indistinct"]["train"]
    assert sum(plan["pairs_indistinct"].values()) == 20
    assert indistinct >= 2  # or it would not show in the number of steps
    assert plan["steps_per_trial"] == -(-(train - indistinct) // 2)


LAYER = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64  # q and o, k and v, mlp, two norms


def test_parameters(config) -> None:
    vocabulary = len(toy_tokenizer())
    size = model_size(config().model)
    assert size.total == 2 * LAYER + 64 + 64 * vocabulary  # a last norm; the head is the embedding
    # rank 4 on q, k, v, o and the three of the mlp: 4 · (in + out)
    assert size.trained == 2 * 4 * (128 + 96 + 96 + 128 + 192 + 192 + 192)
    assert (size.layers, size.hidden, size.vocabulary) == (2, 64, vocabulary)
    norms = {"input_layernorm.weight": 128, "post_attention_layernorm.weight": 128}
    assert size.coverage_json == {
        "body": 2 * LAYER + 64,
        "adapted": 2 * LAYER - 4 * 64,
        "trained": size.trained,
        "folded": 0,
        "left_out": {**norms, "model.norm.weight": 64},
    }
    full = model_size(config("model.adapter=null").model)
    assert full.trained == full.total == size.total
    assert full.coverage_json is None


def test_what_the_adapter_changes_is_said_and_less_than_half_is_a_warning(config) -> None:
    lines = plan_lines(make_plan(config()))
    [line] = [line for line in lines if line.startswith("the adapter changes")]
    assert line == (
        "the adapter changes 99.5 % of the body (all between embeddings and head); left out: "
        "others 0.4 %"
    )
    few = make_plan(config("model.adapter.targets=[q_proj, v_proj]"))
    lines = plan_lines(few)
    [line] = [line for line in lines if line.startswith("the adapter changes")]
    assert line.startswith(
        "the adapter changes 17 % of the body (all between embeddings and head); "
    )
    assert "left out: mlp.gate_proj.weight 22 %, " in line
    assert any(
        line.startswith("warning: 16.6 % of the model's body is all that the adapter changes")
        for line in lines
    )


def test_memory(config) -> None:
    size = ModelSize(1000, 2, 8, 50, Coverage(800, 700, 100, 0))
    # weights 1000 · 4, gradient and two moments 100 · 12, activations 34 · 16 · 8 · 2 layers ·
    # 4 bytes / 2, logits 2 · 16 · 50 · 4
    by_hand = 4000 + 1200 + 17408 + 6400
    assert memory_bytes(config(), size, 16) == by_hand
    half = memory_bytes(config("model.dtype=bfloat16"), size, 16)
    assert half == 2000 + 1200 + 8704 + 6400
    # Scoring a bfloat16 model in float32 copies embeddings and head, 2 · 50 · 8, and one layer, 600 / 2,
    # to 4 bytes each, which is more than what a short row activates, 34 · 4 · 8 · 2.
    scored = memory_bytes(config("model.dtype=bfloat16"), size, 4)
    assert scored == 2000 + 1200 + 4400 + 1600
    as_trained = config("model.dtype=bfloat16", "selection.score_dtype=model")
    assert memory_bytes(as_trained, size, 4) == 2000 + 1200 + 2176 + 1600
    # Trained weights stay in float32, whatever the dtype.
    full = config("model.dtype=bfloat16", "model.adapter=null")
    assert memory_bytes(full, size, 16) == by_hand
    deep = replace(size, layers=12)
    thrifty = config("training.gradient_checkpointing=true")
    assert memory_bytes(thrifty, deep, 16) == by_hand


def test_memory_of_single_answers_is_what_other_layers_keep(config) -> None:
    size = ModelSize(1000, 2, 8, 50, Coverage(800, 700, 100, 0))
    shared, single = (estimated_bytes_per_token(config(), size, each) for each in (True, False))
    assert (shared, single) == (34 * 8 * 2 * 4 / 2, 4 * shared)
    assert memory_bytes(config(), size, 16, shared) == memory_bytes(config(), size, 16)
    assert memory_bytes(config(), size, 16, 100.0) == 4000 + 1200 + 1600 + 6400
    deep = replace(size, layers=12)
    thrifty = config("training.gradient_checkpointing=true")
    assert memory_bytes(thrifty, deep, 16, 600.0) == 4000 + 1200 + 1600 + 6400
    plan = make_plan(config())
    more = plan["memory_bytes_not_shared"] - plan["memory_bytes_per_worker"]
    assert more == 3 * 52 * estimated_bytes_per_token(config(), model_size(config().model))


def test_memory_of_experts_counts_the_sums_of_weights_and_adapter(config) -> None:
    size = ModelSize(1000, 2, 8, 50, Coverage(800, 700, 100, 0))
    experts = replace(size, coverage=Coverage(800, 700, 100, folded=600))
    # All sums are kept for the backward pass, and one layer's have their gradient.
    more = memory_bytes(config(), experts, 16) - memory_bytes(config(), size, 16)
    assert more == 4 * (600 + 300)


def test_memory_of_the_longest_row(config) -> None:
    plan = make_plan(config())
    # Four pairs of 13 tokens fit into a row of 64, five do not.
    assert plan["memory_bytes_per_worker"] == memory_bytes(config(), model_size(config().model), 52)


def test_for_a_reader(config) -> None:
    plan = make_plan(config())
    lines = plan_lines(plan)
    pairs = plan["pairs"]
    assert lines[0] == (
        "8 trials: 5 of the search and 3 of the confirmation, with 10 steps each, scored after "
        "steps 4, 7, 10"
    )
    assert lines[1].startswith(f"pairs: {pairs['train']} train, {pairs['select']} select, ")
    assert "tokens: 780 once for the reference, then 1,040 trained" in lines[2]
    assert "a trial has 2 workers, 3 CPUs, 0 GPUs" in lines[5]
    again = "3 more trials to train the best 3 points again with a new seed each"
    assert any(again in line for line in lines)
    assert not any("data.max_tokens" in line for line in lines)


@pytest.mark.parametrize(
    ("override", "error", "said"),
    [
        ("training.trl={weight_decy: 0.1}", SettingsError, "trl.weight_decy: TRL's DPOC"),
        ("data.path=nowhere.jsonl", DataError, "nowhere.jsonl: no such file or folder"),
        ("model.path=/nowhere/model", ModelError, "model.path: no folder `/nowhere/model`; give a"),
    ],
)
def test_mistakes_are_the_ones_that_run_would_name(config, override, error, said) -> None:
    with pytest.raises(error, match=said):
        make_plan(config(override))


def test_a_chat_format_without_a_template(config, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    toy_tokenizer(chat_template=None).save_pretrained(bare)
    save_toy_model(tmp_path / "full")
    (bare / "config.json").write_bytes((tmp_path / "full" / "config.json").read_bytes())
    with pytest.raises(DataError, match="needs a tokenizer with a chat template"):
        make_plan(config("data.format=chat", f"model.path={bare}"))


def test_the_command_prints_json_and_nothing_else(
    config, tmp_path: Path, monkeypatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps(config().model_dump(mode="json")))  # JSON is YAML
    for flags in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["dpo-sweeps", "plan", str(file), *flags])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, _ = capfd.readouterr()
        assert stopped.value.code == 0
        if flags:
            assert json.loads(out) == make_plan(config())
        else:
            assert out.splitlines() == plan_lines(make_plan(config()))


def test_splits_with_files_of_their_own(config, tmp_path: Path) -> None:
    for name, digit in (("select", 8), ("final", 9)):
        rows = [
            {"prompt": f"{digit}{i:03d}", "chosen": "7" * 5, "rejected": "3" * 2} for i in range(7)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    both = [f"data.{name}_path={tmp_path}/{name}.jsonl" for name in ("select", "final")]
    assert make_plan(config(*both))["pairs"] == {"train": PAIRS, "select": 7, "final": 7}
    one = make_plan(config(both[1]))["pairs"]
    assert one["final"] == 7
    assert one["train"] + one["select"] == PAIRS
    assert one["select"] > 0


def test_pairs_whose_prompts_a_split_of_its_own_repeats_are_left_out(
    config, tmp_path: Path
) -> None:
    rows = (tmp_path / "pairs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "final.jsonl").write_text("".join(rows[:10]))
    plan = make_plan(config(f"data.final_path={tmp_path}/final.jsonl"))
    finding = next(f for f in plan["findings"] if f["code"] == "left_out")
    assert (finding["severity"], finding["number"]) == ("warning", 10)
    assert finding["places"][0] == "pairs:1"
    assert sum(plan["pairs"].values()) == PAIRS
    with pytest.raises(DataError, match=f"{PAIRS} pairs are left out"):
        make_plan(config(f"data.final_path={tmp_path}/pairs.jsonl"))


def test_two_splits_of_their_own_with_the_same_prompts_are_found_out(
    config, tmp_path: Path
) -> None:
    rows = [{"prompt": f"9{i:03d}", "chosen": "7" * 5, "rejected": "3" * 2} for i in range(7)]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    both = [f"data.{name}_path={tmp_path}/held.jsonl" for name in ("select", "final")]
    leak = next(f for f in make_plan(config(*both))["findings"] if f["code"] == "near_duplicates")
    assert (leak["severity"], leak["number"]) == ("severe", 7)


def test_bad_rows_are_counted_over_all_files_before_the_plan_stops(config, tmp_path: Path) -> None:
    same = [{"prompt": f"5{i:03d}", "chosen": "7", "rejected": "7"} for i in range(7)]
    write_pairs(tmp_path / "pairs.jsonl", *same)
    held = [{"prompt": f"9{i:03d}", "chosen": "7" * 5, "rejected": "3" * 2} for i in range(7)]
    (tmp_path / "final.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in held + same[:2])
    )
    final = f"data.final_path={tmp_path}/final.jsonl"
    with pytest.raises(DataError) as error:
        make_plan(config(final))
    said = str(error.value)
    assert said.startswith(f"{tmp_path}/pairs.jsonl:{PAIRS + 1}: chosen and rejected are the same")
    alike = ", ".join(str(PAIRS + number) for number in range(2, 6))
    assert f"; 9 bad rows in all (rows {alike} alike); " in said
    assert said.count("pairs.jsonl:") == 1
    assert said.endswith("; and 4 more; correct them, or leave them out with data.on_bad_row: skip")
    plan = make_plan(config(final, "data.on_bad_row=skip"))
    assert len(plan["rows_skipped"]) == 9


def test_what_makes_no_pair_is_shown_with_its_reason(config, tmp_path: Path) -> None:
    ranked = [
        {"prompt": f"{i:04d}", "responses": ["77777", "33"], "scores": [5, 5 if i < 20 else 1]}
        for i in range(80)
    ]
    scored = {"score_chosen": 1, "score_rejected": 2}
    pairs = [{"prompt": f"9{i:03d}", "chosen": "7", "rejected": "3", **scored} for i in range(10)]
    for name, rows in (("ranked", ranked), ("scored", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [
        {"path": f"{tmp_path}/ranked.jsonl", "kind": "rankings"},
        {"path": f"{tmp_path}/scored.jsonl"},
    ]
    plan = make_plan(config("data.path=null", f"data.sources={json.dumps(sources)}"))
    assert plan["no_pair"] == {"ranked": {"ties": 20}}
    assert "no pair is made of ranked's 20 ties" in plan_lines(plan)
    findings = {finding["code"]: finding for finding in plan["findings"]}
    assert findings["no_pair"]["number"] == 20
    assert (findings["negative_margins"]["number"], findings["negative_margins"]["severity"]) == (
        10,
        "severe",
    )


def test_pairs_beyond_the_most_of_a_split_are_shown(config) -> None:
    free, plan = make_plan(config()), make_plan(config("data.select_pairs=2"))
    assert free["pairs_over_limit"] == {}
    beyond = free["pairs"]["select"] - 2
    assert plan["pairs"]["select"] == 2
    assert plan["pairs_over_limit"] == {"select": beyond}
    assert f"pairs: {beyond} beyond data.select_pairs are in train" in plan_lines(plan)
