"""One trial: the loss is TRL's, the numbers do not depend on how it is run, resuming is exact."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from dpo_core.encoding.encode import encode
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.errors import TrialFailed
from dpo_core.evaluation.outcomes import Count
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.models.load import autocast, load_model
from dpo_core.models.lora_targets import lora_config
from dpo_core.preferences import PreferencePair
from dpo_core.preferences.pairs import make_pair
from dpo_core.scoring.logprobs import row_logps, score_pairs
from dpo_core.scoring.precision import scoring_precision
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.scoring.scorer import Scorer
from dpo_core.settings import LoraSettings, ModelSettings, TrainingSettings
from dpo_core.training.checkpoints import write_manifest
from dpo_core.training.evaluation_callback import Evaluation
from dpo_core.training.loss import dpo_losses
from dpo_core.training.trainer import SharedPromptDPOTrainer, train
from dpo_core.training.trial_data import TrialData
from tests.support import chat_templates
from tests.support.toys import (
    CHAT_TEMPLATE,
    save_toy_model,
    text_pair,
    toy_data,
    toy_encoded,
    toy_llama,
    toy_pairs,
    toy_tokenizer,
)

ROW_TOKENS = 96
LORA = LoraSettings(rank=4, alpha=8)
ADAPTERS = pytest.mark.parametrize("adapter", [LORA, None], ids=["lora", "full"])
POINT = DPOHyperparams(learning_rate=3e-3, beta=0.3)


@dataclass
class Trial:
    """What a run left behind."""

    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    steps: list[tuple[int, float]] = field(default_factory=list)
    checkpoints: list[Path] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        return [loss for _, loss in self.steps]


def run(
    workdir: Path,
    *,
    adapter: LoraSettings | None = LORA,
    dtype: Any = "float32",
    model: Any = None,
    point: DPOHyperparams = POINT,
    data: TrialData | None = None,
    seed: int = 1,
    resume_from: Path | None = None,
    save: bool = False,
    **training: Any,
) -> Trial:
    """Train the toy Llama, or `model`, for a few steps."""
    model, trial = model or toy_llama(), Trial()

    def on_evaluation(evaluation: Evaluation) -> None:
        trial.evaluations.append(evaluation)
        if save:
            folder = workdir / f"checkpoint-{evaluation.step}"
            evaluation.save(folder)
            write_manifest(folder, {"step": evaluation.step})
            trial.checkpoints.append(folder)

    trained = train(
        model,
        toy_tokenizer(),
        data or toy_data(model),
        point,
        model_settings=ModelSettings(path="toy", adapter=adapter, dtype=dtype),
        training=TrainingSettings(
            **{"max_steps": 4, "evaluations": 2, "row_tokens": ROW_TOKENS, **training}
        ),
        seed=seed,
        workdir=workdir,
        on_evaluation=on_evaluation,
        on_step=lambda step, loss: trial.steps.append((step, loss)),
        resume_from=resume_from,
    )
    trial.weights = {name: value.clone() for name, value in trained.state_dict().items()}
    return trial


def identical(left: Trial, right: Trial) -> bool:
    assert left.weights.keys() == right.weights.keys()
    return all(torch.equal(value, right.weights[name]) for name, value in left.weights.items())


def farthest(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert left.keys() == right.keys()
    return max((value - right[name]).abs().max().item() for name, value in left.items())


# --- against TRL ------------------------------------------------------------------------------

TRL_LOSSES: dict[str, dict[str, Any]] = {
    "none": {"loss_type": "sigmoid"},
    "mean": {"loss_type": "sigmoid_norm"},
    "ld": {"loss_type": "sigmoid", "ld_alpha": 0.25},
}


def perturb(model: Any) -> None:
    """Move what is trained away from the reference, the same way for the same names."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
            elif parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.02)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def sides(pair: PreferencePair) -> dict[str, Any]:
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


def trl_trainer(
    base: Any,
    adapter: LoraSettings | None,
    workdir: Path,
    pairs: Sequence[PreferencePair] = (),
    template: str = CHAT_TEMPLATE,
    **loss: Any,
) -> DPOTrainer:
    """TRL's own trainer over six pairs, with its own tokenization and its own reference pass."""
    rows = [
        {
            **{name: s if isinstance(s, str) else list(s) for name, s in sides(pair).items()},
            **({"tools": list(pair.tools)} if pair.tools else {}),
            **({"chat_template_kwargs": pair.template_kwargs} if pair.template_kwargs else {}),
        }
        for pair in pairs or toy_pairs(6)
    ]
    return DPOTrainer(
        model=copy.deepcopy(base),
        ref_model=None if adapter else copy.deepcopy(base),
        args=DPOConfig(
            output_dir=str(workdir),
            max_length=None,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
            **loss,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=toy_tokenizer(template),
        peft_config=lora_config(adapter, None, base) if adapter else None,
    )


@ADAPTERS
@pytest.mark.parametrize("length_norm", sorted(TRL_LOSSES))
def test_loss_and_gradient_are_those_of_trl(
    length_norm: str, adapter: LoraSettings | None, tmp_path: Path
) -> None:
    base, tokenizer = toy_llama(), toy_tokenizer()
    pairs = list(encode(toy_pairs(6), tokenizer, 512))
    reference = score_pairs(base, pairs, 512).numpy()
    ours = SharedPromptDPOTrainer(
        copy.deepcopy(base),
        tokenizer,
        TrialData(pairs, pairs, reference, reference),
        DPOHyperparams(learning_rate=1e-6, beta=0.3, length_norm=length_norm, ld_alpha=0.25),
        ModelSettings(path="toy", adapter=adapter),
        TrainingSettings(max_steps=1, batch_pairs=6, row_tokens=300),
        seed=0,
        workdir=tmp_path,
    )
    trl = trl_trainer(base, adapter, tmp_path, beta=ours.loss_beta, **TRL_LOSSES[length_norm])
    for trainer in (ours, trl):
        perturb(trainer.model)

    loss = ours.training_step(ours.model, {"step": 0}).item()
    batch = trl.data_collator([trl.train_dataset[i] for i in range(6)])
    trl.model.train()
    trl_loss = trl._compute_loss(trl.model, batch, return_outputs=False)
    trl_loss.backward()

    assert abs(loss - math.log(2)) > 0.02  # not the trivial value of an untouched policy
    assert loss == pytest.approx(trl_loss.item(), abs=1e-5)
    expected, mine = gradients(trl.model), gradients(ours.model)
    assert max(g.abs().max().item() for g in expected.values()) > 1e-2
    assert farthest(mine, expected) < 1e-5


def test_the_weight_and_margin_of_a_pair_change_its_loss_alone(tmp_path: Path) -> None:
    base, tokenizer = toy_llama(), toy_tokenizer()
    weights, margins = (1.0, 3.0, 0.5, 1.0), (0.0, 0.0, 0.7, -0.4)
    plain = list(encode(toy_pairs(4), tokenizer, 512))
    weighted = [
        replace(pair, weight=w, margin=m)
        for pair, w, m in zip(plain, weights, margins, strict=True)
    ]
    reference = score_pairs(base, plain, 512).numpy()

    def losses(pairs: list[EncodedPair]) -> torch.Tensor:
        trainer = SharedPromptDPOTrainer(
            copy.deepcopy(base),
            tokenizer,
            TrialData(pairs, pairs, reference, reference),
            POINT,
            ModelSettings(path="toy", adapter=None),
            TrainingSettings(max_steps=1, batch_pairs=4, row_tokens=300),
            seed=0,
            workdir=tmp_path,
        )
        perturb(trainer.model)
        return trainer.row_loss(trainer.model, pairs, np.arange(4), range(4)).detach()

    scores = -torch.expm1(losses(plain)).log()  # the inverse of −log σ
    expected = torch.tensor(weights) * dpo_losses(scores, torch.tensor(margins))
    assert losses(weighted).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    "pairs",
    [
        toy_pairs(6),
        # The border between prompt and answer is a blank, then inside a word: tokens merge.
        [text_pair("May I?", " Ask.", " No."), text_pair("Ask the pharma", "cist.", "cy.")],
    ],
    ids=["chat", "text"],
)
def test_tokens_are_those_of_trl(pairs: list[PreferencePair], tmp_path: Path) -> None:
    trl = trl_trainer(toy_llama(), LORA, tmp_path, pairs).train_dataset
    encoded = list(encode(pairs, toy_tokenizer(), 512))
    assert trl["prompt_ids"][:] == [list(p.prompt) for p in encoded]
    assert trl["chosen_ids"][:] == [list(p.chosen) for p in encoded]
    assert trl["rejected_ids"][:] == [list(p.rejected) for p in encoded]


def test_tokens_with_tools_reasoning_and_settings_are_those_of_trl(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "stock"}}]}
    result = {"role": "tool", "content": "12 boxes", "name": "stock"}
    thought = {"role": "assistant", "content": "No.", "reasoning_content": "They ask."}
    answers = (thought,), ({"role": "assistant", "content": "Yes."},)
    prompt = ({"role": "user", "content": "May I?"}, call, result)
    tools = ({"type": "function", "function": {"name": "stock", "parameters": {}}},)
    pairs = [
        make_pair(prompt, *answers, tools=tools, template_kwargs=settings)
        for settings in ({"thinking": True}, {"thinking": True, "other": 1})
    ]
    template = chat_templates.WITH_EVERYTHING
    trl = trl_trainer(toy_llama(), LORA, tmp_path, pairs, template=template).train_dataset
    encoded = list(encode(pairs, toy_tokenizer(template), 512))
    assert trl["prompt_ids"][:] == [list(p.prompt) for p in encoded]
    assert trl["chosen_ids"][:] == [list(p.chosen) for p in encoded]
    assert trl["rejected_ids"][:] == [list(p.rejected) for p in encoded]


# --- the start --------------------------------------------------------------------------------


@ADAPTERS
def test_training_starts_at_ln_2_and_lowers_the_loss(
    adapter: LoraSettings | None, tmp_path: Path
) -> None:
    # Every batch holds all 24 pairs, so losses compare from step to step.
    trial = run(tmp_path, adapter=adapter, batch_pairs=24, max_steps=6)
    assert trial.losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert trial.losses[-1] < 0.5
    assert [step for step, _ in trial.steps] == [1, 2, 3, 4, 5, 6]


def test_an_untouched_policy_ties_with_its_reference(tmp_path: Path) -> None:
    still = replace(POINT, learning_rate=1e-30)
    trial = run(tmp_path, point=still, max_steps=1, evaluations=1)
    assert trial.evaluations[0].outcomes.count("reward_accuracy") == Count(0, 10, 10)
    assert trial.evaluations[0].loss == pytest.approx(math.log(2), abs=1e-5)


@ADAPTERS
def test_in_bfloat16_too_an_untouched_policy_ties(
    adapter: LoraSettings | None, tmp_path: Path
) -> None:
    settings = ModelSettings(
        path=str(save_toy_model(tmp_path / "toy")), adapter=adapter, dtype="bfloat16"
    )
    model = load_model(settings)
    with autocast(settings, "cpu"):
        data = toy_data(model)
    still = replace(POINT, learning_rate=1e-30)
    trial = run(
        tmp_path,
        model=model,
        adapter=adapter,
        dtype="bfloat16",
        data=data,
        point=still,
        max_steps=1,
    )
    assert trial.evaluations[0].outcomes.count("reward_accuracy") == Count(0, 10, 10)
    assert trial.losses == pytest.approx([math.log(2)], abs=0.02)


@ADAPTERS
@pytest.mark.parametrize("layout", list(RowLayout))
def test_training_computes_the_log_probs_that_scoring_does(
    adapter: LoraSettings | None, layout: RowLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a policy would be trained from one starting point and scored from another."""
    settings = ModelSettings(
        path=str(save_toy_model(tmp_path / "toy")), adapter=adapter, dtype="bfloat16"
    )
    model = load_model(settings)
    trained: list[torch.Tensor] = []
    scored: list[torch.Tensor] = []

    def both(policy: Any, row: Any, layout: RowLayout) -> Any:
        with torch.no_grad(), scoring_precision(policy, settings, "bfloat16"):
            scored.append(row_logps(policy, row, layout).chosen)
        logps = row_logps(policy, row, layout)
        trained.append(logps.chosen.detach())
        return logps

    monkeypatch.setattr("dpo_core.training.trainer.row_logps", both)
    data = replace(toy_data(model), layout=layout)
    run(tmp_path, model=model, adapter=adapter, dtype="bfloat16", data=data)
    assert len(trained) >= 4
    for mine, theirs in zip(trained, scored, strict=True):
        assert torch.equal(mine, theirs)


@ADAPTERS
def test_select_is_scored_in_float32_while_training_computes_in_bfloat16(
    adapter: LoraSettings | None, tmp_path: Path
) -> None:
    settings = ModelSettings(
        path=str(save_toy_model(tmp_path / "toy")), adapter=adapter, dtype="bfloat16"
    )
    model = load_model(settings)
    data = toy_data(model)
    with scoring_precision(model, settings, "float32"):
        reference = score_pairs(model, data.select, ROW_TOKENS).numpy()
    data = replace(data, select_reference=reference, score_dtype="float32")
    seen: list[tuple[np.ndarray[Any, Any], torch.Tensor]] = []

    def on_evaluation(evaluation: Evaluation) -> None:
        whole = copy.deepcopy(model).float()  # under its adapter, where it has one
        whole.__dict__.pop("forward", None)  # of Accelerate
        seen.append((evaluation.outcomes.chosen_logp, score_pairs(whole, data.select, ROW_TOKENS)))

    train(
        model,
        toy_tokenizer(),
        data,
        POINT,
        model_settings=settings,
        training=TrainingSettings(max_steps=2, evaluations=2, row_tokens=ROW_TOKENS),
        seed=0,
        workdir=tmp_path,
        on_evaluation=on_evaluation,
    )
    for scored, expected in seen:
        assert scored == pytest.approx(expected.chosen.numpy(), abs=1e-4)


def test_the_accuracy_of_a_small_adapter_is_seen_in_float32_only(tmp_path: Path) -> None:
    """It ranks every pair right, by 0.03 nats, and bfloat16 is off by as much."""
    settings = ModelSettings(
        path=str(save_toy_model(tmp_path / "toy")), adapter=LORA, dtype="bfloat16"
    )
    pairs = list(encode(toy_pairs(64), toy_tokenizer(), 256))
    train_pairs, select = pairs[:32], pairs[32:]
    scorer = Scorer(settings, ROW_TOKENS)

    def accuracy(score_dtype: str) -> float:
        data = TrialData(
            train_pairs,
            select,
            scorer(train_pairs),
            scorer(select, score_dtype),
            score_dtype=score_dtype,
        )
        trial = run(
            tmp_path,
            model=load_model(settings),
            dtype="bfloat16",
            data=data,
            point=replace(POINT, learning_rate=1e-5),
            max_steps=8,
        )
        outcomes = trial.evaluations[-1].outcomes
        assert np.abs(outcomes.margins("reward_accuracy")).max() < 0.2
        return outcomes.count("reward_accuracy").accuracy

    assert accuracy("float32") == 1.0
    assert accuracy("bfloat16") < 0.7


@ADAPTERS
def test_no_reference_model_is_in_memory(adapter: LoraSettings | None, tmp_path: Path) -> None:
    model = toy_llama()
    trainer = SharedPromptDPOTrainer(
        model,
        toy_tokenizer(),
        toy_data(model),
        POINT,
        ModelSettings(path="toy", adapter=adapter),
        TrainingSettings(max_steps=1, row_tokens=ROW_TOKENS),
        seed=0,
        workdir=tmp_path,
    )
    assert trainer.ref_model is None
    in_memory = {id(p) for p in trainer.model.parameters()}
    assert {id(p) for p in model.parameters()} <= in_memory  # trained in place, not copied


# --- seeds ------------------------------------------------------------------------------------


@ADAPTERS
def test_the_same_seed_gives_the_same_bits(adapter: LoraSettings | None, tmp_path: Path) -> None:
    first, second = (run(tmp_path / str(i), adapter=adapter) for i in range(2))
    assert identical(first, second)
    assert first.losses == second.losses
    assert not identical(first, run(tmp_path / "other", adapter=adapter, seed=2))


def test_the_seed_decides_where_an_adapter_starts(tmp_path: Path) -> None:
    """With B at zero nothing moves A in the first step, so A is still where it started."""
    still = replace(POINT, learning_rate=1e-30)
    starts = [run(tmp_path, point=still, seed=s, max_steps=1).weights for s in (1, 1, 2)]
    name = next(n for n in starts[0] if "lora_A" in n)
    assert torch.equal(starts[0][name], starts[1][name])
    assert not torch.equal(starts[0][name], starts[2][name])


# --- evaluations ------------------------------------------------------------------------------


def test_evaluations_come_at_the_scheduled_steps(tmp_path: Path) -> None:
    trial = run(tmp_path, max_steps=5, evaluations=2)
    assert [(e.step, e.last) for e in trial.evaluations] == [(3, False), (5, True)]
    # The reported loss is the mean since the last evaluation: steps 1 to 3, then 4 and 5.
    assert [e.loss for e in trial.evaluations] == pytest.approx(
        [np.mean(trial.losses[:3]), np.mean(trial.losses[3:])]
    )


def test_evaluations_score_every_select_pair_under_the_trained_policy(tmp_path: Path) -> None:
    base = toy_llama()
    data = toy_data(base)
    trial = run(tmp_path, adapter=None, data=data)
    outcomes = trial.evaluations[-1].outcomes
    trained = toy_llama()
    trained.load_state_dict(trial.weights)
    policy = score_pairs(trained, data.select, ROW_TOKENS).numpy()
    assert outcomes.ids == tuple(p.id for p in data.select)
    assert outcomes.chosen_logp == pytest.approx(policy["chosen"], abs=1e-4)
    assert outcomes.ref_rejected_logp == pytest.approx(data.select_reference["rejected"])
    assert outcomes.chosen_tokens.tolist() == [len(p.chosen) for p in data.select]
    assert np.abs(outcomes.margins("reward_accuracy")).max() > 0.1


def test_training_on_the_select_pairs_gets_them_right(tmp_path: Path) -> None:
    base, pairs = toy_llama(), toy_encoded(8)
    reference = score_pairs(base, pairs, ROW_TOKENS).numpy()
    data = TrialData(pairs, pairs, reference, reference)
    trial = run(tmp_path, adapter=None, data=data, max_steps=10)
    assert trial.evaluations[-1].outcomes.count("reward_accuracy") == Count(8, 0, 8)


# --- what may not change the numbers ----------------------------------------------------------


@pytest.mark.parametrize("row_tokens", [64, 2048])
def test_the_row_budget_does_not_change_the_loss(row_tokens: int, tmp_path: Path) -> None:
    # SimPO needs no reference, so its first loss is not ln 2 but depends on every log-prob.
    point = replace(POINT, beta=0.05, length_norm="simpo")
    here = run(tmp_path / "a", point=point, max_steps=1).losses
    there = run(tmp_path / "b", point=point, max_steps=1, row_tokens=row_tokens).losses
    assert abs(here[0] - math.log(2)) > 0.02
    assert there == pytest.approx(here, abs=1e-6)


@ADAPTERS
def test_gradient_checkpointing_changes_nothing(
    adapter: LoraSettings | None, tmp_path: Path
) -> None:
    plain = run(tmp_path / "a", adapter=adapter, max_steps=2)
    frugal = run(tmp_path / "b", adapter=adapter, max_steps=2, gradient_checkpointing=True)
    assert frugal.losses == pytest.approx(plain.losses, abs=1e-6)
    assert farthest(frugal.weights, plain.weights) < 1e-5


def test_a_pair_that_truncation_made_equal_is_scored_as_a_tie_and_never_trained(
    tmp_path: Path,
) -> None:
    base = toy_llama()
    twin = EncodedPair("twin", (5, 6), (7, 8, 9), (7, 8, 9))
    train_pairs, select_pairs = [*toy_encoded(6), twin], [twin, *toy_encoded(4, seed=9)]
    data = TrialData(
        train_pairs,
        select_pairs,
        *(score_pairs(base, s, ROW_TOKENS).numpy() for s in (train_pairs, select_pairs)),
    )
    trial = run(tmp_path, adapter=None, data=data, max_steps=4, batch_pairs=6)
    outcomes = trial.evaluations[-1].outcomes
    assert outcomes.signs("reward_accuracy")[outcomes.ids.index("twin")] == 0
    assert outcomes.count("reward_accuracy").total == 5

    without = TrialData(
        train_pairs[:-1],
        select_pairs,
        {name: column[:-1] for name, column in data.train_reference.items()},
        data.select_reference,
    )
    assert identical(trial, run(tmp_path, adapter=None, data=without, max_steps=4, batch_pairs=6))


def test_models_that_cannot_share_prompts_train_alike(tmp_path: Path) -> None:
    shared = run(tmp_path / "a", adapter=None, max_steps=2)
    data = replace(toy_data(toy_llama()), layout=RowLayout.PLAIN)
    plain = run(tmp_path / "b", adapter=None, data=data, max_steps=2)
    assert plain.losses[0] == pytest.approx(shared.losses[0], abs=1e-6)
    # AdamW's first step divides each gradient by its own size, and float noise with it.
    assert plain.losses[1] == pytest.approx(shared.losses[1], abs=1e-4)


# --- failing ----------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_trial(tmp_path: Path) -> None:
    data = toy_data(toy_llama())
    data.train_reference["chosen"][3] = np.nan
    with pytest.raises(TrialFailed) as failed:
        run(tmp_path, data=data, batch_pairs=24)
    assert failed.value.reason == "nan"
    assert failed.value.detail == "the training loss is nan at step 1"


def test_weights_that_are_no_numbers_end_the_trial_at_its_evaluation(tmp_path: Path) -> None:
    """The loss of the only step is fine; what the step did to the weights is not."""
    point = DPOHyperparams(learning_rate=1e30, beta=0.1)
    with pytest.raises(TrialFailed) as failed:
        run(tmp_path, point=point, max_steps=1, evaluations=1, warmup_fraction=0.0)
    assert failed.value.detail == "the policy's log-probabilities are no numbers at step 1"


# --- checkpoints ------------------------------------------------------------------------------


@ADAPTERS
def test_resuming_half_way_ends_at_the_same_bits(
    adapter: LoraSettings | None, tmp_path: Path
) -> None:
    whole = run(tmp_path / "a", adapter=adapter, save=True, max_steps=6, evaluations=3)
    assert [c.name for c in whole.checkpoints] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    resumed = run(
        tmp_path / "b",
        adapter=adapter,
        resume_from=whole.checkpoints[0],
        max_steps=6,
        evaluations=3,
    )
    assert [step for step, _ in resumed.steps] == [3, 4, 5, 6]
    assert resumed.losses == whole.losses[2:]
    assert identical(resumed, whole)
    for again, first in zip(resumed.evaluations, whole.evaluations[1:], strict=True):
        assert (again.step, again.loss) == (first.step, first.loss)
        assert np.array_equal(again.outcomes.chosen_logp, first.outcomes.chosen_logp)


def test_resuming_at_the_end_trains_no_further(tmp_path: Path) -> None:
    whole = run(tmp_path / "a", save=True)
    resumed = run(tmp_path / "b", resume_from=whole.checkpoints[-1])
    assert resumed.steps == []
    assert identical(resumed, whole)


def test_an_adapter_checkpoint_holds_the_adapter_only(tmp_path: Path) -> None:
    trial = run(tmp_path, save=True, max_steps=1, evaluations=1)
    (folder,) = trial.checkpoints
    assert not (folder / "model.safetensors").exists()
    tensors = load_file(folder / "adapter_model.safetensors")
    assert all(".lora_A." in name or ".lora_B." in name for name in tensors)
    assert len(tensors) == 2 * 2 * 7  # A and B, 2 layers, q k v o gate up down
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == LORA.rank


def test_a_searched_rank_becomes_the_adapters_rank(tmp_path: Path) -> None:
    trial = run(tmp_path, point=replace(POINT, lora_rank=2), save=True, max_steps=1)
    config = json.loads((trial.checkpoints[0] / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 4)  # α/r stays 8/4


def test_a_full_checkpoint_loads_with_transformers(tmp_path: Path) -> None:
    trial = run(tmp_path, adapter=None, save=True, max_steps=1, evaluations=1)
    loaded = AutoModelForCausalLM.from_pretrained(trial.checkpoints[0], use_safetensors=True)
    assert farthest(dict(loaded.state_dict()), trial.weights) == 0.0
    assert farthest(trial.weights, dict(toy_llama().state_dict())) > 1e-4


# --- two workers ------------------------------------------------------------------------------

# Plain SGD: its steps are the gradients, where Adam would blow float noise up to whole steps.
SGD: dict[str, Any] = {
    "point": replace(POINT, learning_rate=0.5),
    "max_steps": 3,
    "evaluations": 1,
    "trl": {"optim": "sgd"},
}


def work(rank: int, world: int, folder: str) -> None:
    """One of the workers, in a process of its own."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}  # the file below is used instead
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world
    )
    for name, adapter in (("lora", LORA), ("full", None)):
        trial = run(Path(folder) / f"{name}-{rank}", adapter=adapter, **SGD)
        save_file(trial.weights, f"{folder}/{name}-{rank}.safetensors")
        (evaluation,) = trial.evaluations
        counts = {k: c.as_dict() for k, c in evaluation.outcomes.counts().items()}
        about = {"loss": evaluation.loss, "counts": counts, "ids": evaluation.outcomes.ids}
        Path(f"{folder}/{name}-{rank}.json").write_text(json.dumps(about))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    # The work is written down. A normal exit now and then aborts in gloo's own thread destructors.
    os._exit(0)


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    torch.multiprocessing.spawn(work, args=(2, str(folder)), nprocs=2)
    return folder


@pytest.mark.parametrize("name", ["lora", "full"])
def test_two_workers_give_what_one_gives(name: str, two_workers: Path, tmp_path: Path) -> None:
    alone = run(tmp_path, adapter=LORA if name == "lora" else None, **SGD)
    (evaluation,) = alone.evaluations
    counts = {k: c.as_dict() for k, c in evaluation.outcomes.counts().items()}
    moved = toy_llama().state_dict() if name == "full" else None
    for rank in range(2):
        about = json.loads((two_workers / f"{name}-{rank}.json").read_text())
        assert about["counts"] == counts
        assert tuple(about["ids"]) == evaluation.outcomes.ids
        assert about["loss"] == pytest.approx(evaluation.loss, abs=1e-5)
        weights = load_file(two_workers / f"{name}-{rank}.safetensors")
        assert farthest(weights, alone.weights) < 1e-5
    if moved is not None:
        assert farthest(alone.weights, dict(moved)) > 1e-3
