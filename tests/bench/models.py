"""Tiny models of every decoder family, through all that a sweep does with a model.

Each is built at random with two layers, saved, loaded, measured for its layout of rows, trained twice on
one resident model with LoRA and in full, exported, and loaded again by Transformers alone. Families are
those that Transformers has: one that it adds later is measured like the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo_core.encoding.packing import build_row, pack_rows
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.errors import UserError
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.scoring.logprobs import score_pairs, token_logps
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.settings import LoraSettings, ModelSettings, TrainingSettings
from dpo_core.training.trial_data import TrialData
from tests.bench.table import Row
from tests.support.decoder_families import family_names, parameters_of, tiny_config, tiny_decoder
from tests.support.toys import VOCABULARY, toy_encoded, toy_tokenizer

SILENT_NATS = 1e-4
"""The largest difference of a token's log-prob in float32 that rounding explains."""
MOST_PARAMETERS = 3_000_000
"""Families whose config cannot be made small, such as vision models, are left out and counted."""
ROW_TOKENS = 200
OK = "ok"
_STEPS = 2
_POINT = DPOHyperparams(learning_rate=1e-3, beta=0.1)
_rng = np.random.default_rng(1)
_LONG = EncodedPair(
    "long", *(tuple(_rng.integers(3, VOCABULARY, count).tolist()) for count in (60, 20, 24))
)
PAIRS = [*toy_encoded(8), _LONG]


@dataclass
class Family:
    """What was measured of a model type; the fields of a part that did not run are empty."""

    name: str
    layout: str = ""
    why_not_shared: str = ""
    float32_nats: float = float("nan")
    """The largest difference of a token's log-prob to that of Transformers alone."""
    bfloat16_nats: float = float("nan")
    """The mean difference to plain passes in bfloat16."""
    kept: float = float("nan")
    """Values that a training step keeps of a token, by layer and hidden unit; the formula has 34."""
    coverage: float = float("nan")
    parts: dict[str, str] = field(default_factory=dict)
    """"ok", a refusal or a defect, by what was tried."""
    seconds: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether the whole model is refused."""
        return "model" in self.parts

    @property
    def silent(self) -> bool:
        """Whether log-probs differ without a word."""
        return self.float32_nats > SILENT_NATS

    @property
    def sound(self) -> bool:
        """Whether each part is ok or refused in one line."""
        return not self.silent and not any(v.startswith("DEFECT") for v in self.parts.values())


def measure(scratch: Path, names: Sequence[str] = ()) -> tuple[list[Family], dict[str, str]]:
    """Measure families, by default all.

    Args:
        scratch: A folder for models and checkpoints.
        names: Model types of Transformers.

    Returns:
        The families that were measured, and why others were left out, by name.
    """
    from dpo_core.models.load import silence_libraries
    from tests.bench.probe import say

    silence_libraries()
    families, left_out = [], {}
    for name in names or family_names():
        reason = why_left_out(name)
        if reason:
            left_out[name] = reason
            continue
        family = measure_family(name, scratch / name)
        say(f"{name}: {family.layout} {family.float32_nats:.1e} {family.parts}")
        families.append(family)
    return families, left_out


def why_left_out(name: str) -> str:
    """Say why no tiny model of this type can be built, or return nothing."""
    try:
        config = tiny_config(name)
        if config.is_encoder_decoder:
            return "encoder and decoder"
        count = parameters_of(config)
        if count > MOST_PARAMETERS:
            return f"{count:,} parameters"
        tiny_decoder(name)(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)
    except Exception as error:
        return _line(error)
    return ""


def measure_family(name: str, folder: Path) -> Family:
    """Take a tiny model of a type through all parts; nothing that it raises gets out."""
    started, family = time.perf_counter(), Family(name)
    settings = ModelSettings(path=str(folder / "model"), adapter=LoraSettings(rank=4, alpha=8))
    with _part(family, "model"):
        tiny_decoder(name).save_pretrained(folder / "model")
        toy_tokenizer().save_pretrained(folder / "model")
        _measure_layout(family, settings)
    if not family.refused:
        with _part(family, "LoRA"):
            _measure_coverage(family, settings)
            family.parts["LoRA"] = _trained_twice(settings, family.layout, folder / "lora")
        with _part(family, "full"):
            full = settings.model_copy(update={"adapter": None})
            family.parts["full"] = _trained_twice(full, family.layout, folder / "full")
    family.seconds = time.perf_counter() - started
    return family


def rows(families: Sequence[Family]) -> list[Row]:
    """Judge the whole table."""
    counts = {
        "families measured": (len(families), ">=", 45),
        "families with a defect": (sum(not each.sound for each in families), "==", 0),
        "silent differences above 1e-4 nats in float32": (
            sum(each.silent for each in families),
            "==",
            0,
        ),
        "families that share prompts": (
            sum(each.layout in ("packed", "masked") for each in families),
            "",
            None,
        ),
    }
    return [
        Row(what, float(count), sign=sign, goal=goal, of="ours")
        for what, (count, sign, goal) in counts.items()
    ]


def table(families: Sequence[Family], left_out: dict[str, str]) -> Any:
    """Draw one line for each family."""
    from rich.table import Table

    drawn = Table(title="families of models", caption=_caption(left_out))
    drawn.add_column("family")
    for name in ("rows", "float32", "bfloat16", "kept", "adapted", "LoRA", "full", "s"):
        drawn.add_column(name, justify="right" if name != "LoRA" else "left", overflow="fold")
    drawn.add_column("why", overflow="fold")
    for each in families:
        why = each.parts.get("model", each.why_not_shared)
        numbers = (
            _shown(value, text)
            for value, text in (
                (each.float32_nats, "{:.0e}"),
                (each.bfloat16_nats, "{:.3f}"),
                (each.kept, "{:.0f}"),
                (each.coverage, "{:.0%}"),
            )
        )
        parts = (each.parts.get(part, "") for part in ("LoRA", "full"))
        layout = "refused" if each.refused else each.layout
        drawn.add_row(each.name, layout, *numbers, *parts, f"{each.seconds:.1f}", why)
    return drawn


def as_raw(families: Sequence[Family], left_out: dict[str, str]) -> dict[str, Any]:
    """Every number, for the JSON file."""
    return {"families": [asdict(each) for each in families], "left_out": left_out}


def _measure_layout(family: Family, settings: ModelSettings) -> None:
    from dpo_core.models.load import check_local_model
    from dpo_core.models.loaded_checks import (
        check_causality,
        check_loaded_numbers,
        check_numbers,
    )
    from dpo_core.scoring.scorer import Scorer

    check_local_model(settings)
    scorer = Scorer(settings)
    check_numbers(family.name, scorer.model)
    check_loaded_numbers(settings, scorer.model)
    check_causality(family.name, scorer.model)
    choice = scorer.choose_layout(PAIRS, ROW_TOKENS)
    family.layout, family.why_not_shared = choice.layout.value, choice.why_not_shared or ""
    config = scorer.model.config.get_text_config()
    values = choice.kept_bytes_per_token / (config.hidden_size * config.num_hidden_layers)
    family.kept = values / 2  # of 4 bytes, where the formula has those of 2
    scored = _in_rows(scorer.model, choice.layout)
    plain = _by_transformers(Path(settings.path), PAIRS)
    family.float32_nats = float((scored - plain).abs().max())
    family.bfloat16_nats = _bfloat16_difference(settings)


@torch.no_grad()
def _in_rows(model: Any, layout: Any) -> Tensor:
    """Score answer tokens as a sweep does, and return them in the order of the pairs."""
    by_pair: dict[int, Tensor] = {}
    for row in pack_rows(PAIRS, ROW_TOKENS):
        logps = token_logps(model, row, layout)
        by_pair |= {pair: logps[row.answer_of // 2 == i] for i, pair in enumerate(row.indices)}
    return torch.cat([by_pair[pair] for pair in range(len(PAIRS))])


def _bfloat16_difference(settings: ModelSettings) -> float:
    from dpo_core.models.load import autocast
    from dpo_core.scoring.scorer import Scorer

    half = settings.model_copy(update={"dtype": "bfloat16"})
    scorer = Scorer(half)
    layout = scorer.choose_layout(PAIRS, ROW_TOKENS).layout
    with autocast(half, scorer.device):
        ours, plain = (_in_rows(scorer.model, each) for each in (layout, RowLayout.PLAIN))
    return float((ours - plain).abs().mean())


def _measure_coverage(family: Family, settings: ModelSettings) -> None:
    from sweeps.prepare.memory_estimate import model_size

    coverage = model_size(settings).coverage
    if coverage is not None:
        family.coverage = coverage.adapted / coverage.body


def _trained_twice(settings: ModelSettings, layout: str, folder: Path) -> str:
    """Train the same trial twice on one model; export the second and load it by Transformers.

    First the model is tried out as before a sweep, which refuses what would fail in a trial.
    """
    from dpo_core.models.reusable import ReusableModel
    from sweeps.finalize.export import write_whole

    reusable = ReusableModel(settings, "cpu")
    folder.mkdir()
    with reusable.restored_after_use() as model:
        _try_out(model, settings, layout, folder)
    trials = []
    for number in range(2):
        with reusable.restored_after_use() as model:
            trials.append(_train(model, settings, layout, folder / str(number)))
    (first, losses), (second, again) = trials
    if losses != again or not torch.equal(first, second):
        return f"DEFECT: a second trial differs by {(first - second).abs().max():.1e} nats"
    if abs(losses[0] - np.log(2)) > 1e-4:
        return f"DEFECT: the loss of the first step is {losses[0]:.4f}"
    (folder / "best").mkdir()
    write_whole(settings, folder / "1" / "checkpoint", folder / "best", "float32")
    exported = _sums(_by_transformers(folder / "best", PAIRS))
    lost = float((exported - second).abs().max())
    return OK if lost < 1e-3 else f"DEFECT: the export is off by {lost:.1e} nats a pair"


def _try_out(model: Any, settings: ModelSettings, layout: str, folder: Path) -> None:
    """Raise ModelError where the check before a sweep does."""
    from dpo_core.training.one_step import OneStep

    step = OneStep(settings, _training(), toy_tokenizer())
    step.try_training(model, _data(model, PAIRS[-1:], layout), _POINT, folder)


def _train(
    model: Any, settings: ModelSettings, layout: str, folder: Path
) -> tuple[Tensor, list[float]]:
    """Train a few steps, and return the sums of each pair (pairs, 2) and the losses."""
    from dpo_core.training.trainer import train

    sums, losses = [], []

    def keep(evaluation: Any) -> None:
        outcomes = evaluation.outcomes
        logps = np.stack([outcomes.chosen_logp, outcomes.rejected_logp], axis=1)
        sums.append(torch.tensor(logps))
        evaluation.save(folder / "checkpoint")

    train(
        model,
        toy_tokenizer(),
        _data(model, PAIRS, layout),
        _POINT,
        model_settings=settings,
        training=_training(),
        seed=1,
        workdir=folder / "trl",
        on_evaluation=keep,
        on_step=lambda _step, loss: losses.append(loss),
    )
    return sums[-1], losses


def _data(model: Any, pairs: Sequence[EncodedPair], layout: str) -> TrialData:
    reference = score_pairs(model, pairs, ROW_TOKENS, RowLayout(layout)).numpy()
    return TrialData(pairs, pairs, reference, reference, RowLayout(layout))


def _training() -> TrainingSettings:
    return TrainingSettings(max_steps=_STEPS, batch_pairs=4, evaluations=1, row_tokens=ROW_TOKENS)


@torch.no_grad()
def _by_transformers(folder: Path, pairs: Sequence[EncodedPair]) -> Tensor:
    """Score answer tokens with nothing of this project: a plain pass for each answer."""
    from transformers import AutoModelForCausalLM

    model, parts = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), []
    for pair in pairs:
        for answer in (pair.chosen, pair.rejected):
            ids = torch.tensor([pair.prompt + answer])
            table = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
            before = table[len(pair.prompt) - 1 : -1]
            parts.append(before.gather(1, torch.tensor(answer)[:, None])[:, 0])
    return torch.cat(parts)


def _sums(logps: Tensor) -> Tensor:
    row = build_row(PAIRS, range(len(PAIRS)))
    return torch.zeros(2 * len(PAIRS)).index_add(0, row.answer_of, logps).view(-1, 2)


@contextmanager
def _part(family: Family, name: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        family.parts[name] = f"refused: {str(error).removeprefix('model.path: ')}"
    except Exception as error:
        family.parts[name] = f"DEFECT: {_line(error)}"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _shown(value: float, text: str) -> str:
    return "" if np.isnan(value) else text.format(value)


def _caption(left_out: dict[str, str]) -> str:
    return (
        f"{len(left_out)} model types left out, since no tiny model of them can be built: "
        + ", ".join(sorted(left_out))
    )
