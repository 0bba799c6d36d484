"""The export of the winner to `best/`, which transformers, PEFT and vLLM load as a model.

With LoRA the adapter is merged into the base model, so that `best/` needs no other files; the
adapter itself is in `best/adapter/`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.errors import UserError
from dpo_core.evaluation.outcomes import Outcomes, read_outcomes_if_whole, write_outcomes
from dpo_core.settings import ModelSettings
from sweeps.run_dir import json_files
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.json_types import SelectionJson
from sweeps.run_dir.paths import CheckpointKey, SweepPaths, SweepRef
from sweeps.run_dir.prepared import Prepared, read_encoded, read_reference
from sweeps.selection.verdict import BETTER

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "adapter"
_WINNER = "dpo-sweeps.json"
_STATE = ("optimizer.safetensors", "scheduler.json", "trainer_state.json", "manifest.json")


def export_and_score(sweep: SweepRef, trial: str, step: int) -> None:
    """Write `best/`, then score the final split with the model that was written; runs on a worker.

    Args:
        sweep: The sweep.
        trial: Trial of the winner.
        step: Step of the winner.
    """
    from dpo_core.models.load import silence_libraries

    silence_libraries()
    paths = sweep.paths
    with tempfile.TemporaryDirectory(dir=paths.scratch) as scratch:
        folder = Path(scratch) / "best"
        export_checkpoint(paths, trial, step, folder)
        outcomes = score_final(paths, folder)
        metadata = {"trial": trial, "step": step, "split": "final"}
        paths.store.write(paths.final_outcome(trial, step), write_outcomes(outcomes, metadata))
        (folder / _WINNER).write_text(json.dumps({"trial": trial, "step": step}))
        paths.store.upload(folder, paths.best, last="config.json")


def exported(paths: SweepPaths) -> CheckpointKey | None:
    """Return which checkpoint `best/` holds.

    Returns:
        Its trial and step; None while `best/` is incomplete.
    """
    if not all(paths.store.exists(f"{paths.best}/{n}") for n in ("config.json", _WINNER)):
        return None
    about = json_files.EXPORTED.rebuildable(paths.store, f"{paths.best}/{_WINNER}")
    return about and (about["trial"], about["step"])


def export_checkpoint(paths: SweepPaths, trial: str, step: int, target: Path) -> None:
    """Write a checkpoint as a whole model.

    Args:
        paths: The run directory.
        trial: Trial of the checkpoint.
        step: Step of the checkpoint.
        target: A new folder for weights, config and tokenizer.

    Raises:
        UserError: The checkpoint is damaged.
    """
    from transformers import AutoModelForCausalLM

    from dpo_core.models.load import load_model, load_tokenizer
    from dpo_core.training.checkpoints import read_manifest

    config = read_config(paths)
    with tempfile.TemporaryDirectory() as scratch:
        source = paths.store.download(paths.checkpoint(trial, step), Path(scratch) / "checkpoint")
        try:
            read_manifest(source)
        except (OSError, ValueError) as error:
            raise UserError(f"checkpoint of {trial} at step {step}: {error}") from None
        if config.model.adapter is None:
            tuned = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
            tuned.config.use_cache = True  # off while training; generation wants it
            tuned.save_pretrained(target)
        else:
            merge_adapter(load_model(config.model), source, target)
    load_tokenizer(config.model).save_pretrained(target)


def merge_adapter(base: PreTrainedModel, adapter: Path, target: Path) -> None:
    """Add a LoRA adapter's product to the base weights, and keep a copy of the adapter.

    Args:
        base: The base model; its weights are changed.
        adapter: Folder of the checkpoint.
        target: Folder of the merged model.
    """
    from peft import PeftModel

    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    merged.config.use_cache = True
    merged.save_pretrained(target)
    shutil.copytree(adapter, target / ADAPTER, ignore=shutil.ignore_patterns(*_STATE))


def score_final(paths: SweepPaths, model: Path) -> Outcomes:
    """Score the final split with an exported model."""
    base = read_config(paths).model
    return score_model(
        paths, base.model_copy(update={"path": str(model), "revision": None}), "final"
    )


def score_model(paths: SweepPaths, settings: ModelSettings, split: str) -> Outcomes:
    """Score a split with a whole model.

    Args:
        paths: The run directory, with the reference's scores.
        settings: The model, and how it is loaded.
        split: `select` or `final`.

    Returns:
        Outcomes of every pair, against the sweep's reference.
    """
    from dpo_core.evaluation.outcomes import build_outcomes
    from dpo_core.scoring.scorer import Scorer

    prepared, pairs = Prepared.read(paths), read_encoded(paths, split)
    scorer = Scorer(settings, prepared.row_tokens, prepared.not_shared is None)
    policy = scorer(pairs, prepared.score_dtype)
    reference = read_reference(paths, prepared, split, pairs)
    return build_outcomes(pairs, policy, reference)


def final_outcomes(paths: SweepPaths, trial: str, step: int) -> Outcomes | None:
    """Read the outcomes that `export_and_score` wrote.

    Args:
        paths: The run directory.
        trial: Trial of the winner.
        step: Step of the winner.

    Returns:
        Outcomes of every pair of the final split; None where there are none, or no whole ones.
    """
    name = paths.final_outcome(trial, step)
    if not paths.store.exists(name):
        return None
    stored = read_outcomes_if_whole(paths.store.read(name))
    return stored and stored[0]


def copy_best(
    paths: SweepPaths,
    target: Path,
    selection: SelectionJson,
    *,
    even_if_not_better: bool = False,
) -> None:
    """Copy `best/`.

    Args:
        paths: The run directory.
        target: A folder that is empty or new.
        selection: Content of selection.json.
        even_if_not_better: Copy a winner too that is not better than what it was compared with.

    Raises:
        UserError: There is no such winner, no `best/` yet, or the target is in use.
    """
    verdict = selection["verdict"]
    if selection["winner"] is None:
        raise UserError(f"{paths.store.uri}: has no winner: {verdict['sentence']}")
    if verdict["word"] != BETTER and not even_if_not_better:
        raise UserError(f"{verdict['sentence']}; give --even-if-not-better to export it")
    if not paths.store.exists(f"{paths.best}/config.json"):
        raise UserError(
            f"{paths.store.uri}: has no {paths.best}/ yet; `dpo-sweeps resume` finishes the sweep"
        )
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file; give a new folder")
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target}: is not empty; give a new folder")
    with tempfile.TemporaryDirectory() as scratch:
        source = paths.store.download(paths.best, Path(scratch))
        shutil.copytree(source, target, dirs_exist_ok=True)
