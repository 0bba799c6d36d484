"""The export of the winner to `best/`, which transformers, PEFT and vLLM load as a model.

With LoRA the adapter is in `best/adapter/`, and it is merged into the base model unless the config
says otherwise, so that `best/` needs no other files. `sweeps.run_dir.exported` lists the files.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dpo_core.errors import UserError
from dpo_core.evaluation.outcomes import Outcomes, read_outcomes_if_whole, write_outcomes
from dpo_core.models.base_name import base_name
from dpo_core.settings import FLOAT32, ModelSettings
from sweeps.finalize.cleaned import refuse_if_cleaned
from sweeps.finalize.score_policy import score_policy
from sweeps.finalize.stored_margins import LARGEST_LOSS, SelectMargins, share_lost
from sweeps.run_dir import json_files
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.exported import (
    ADAPTER,
    CARD,
    CONFIG,
    MANIFEST,
    ExportedJson,
    ExportedModel,
)
from sweeps.run_dir.json_types import SelectionJson, StoredMarginsJson
from sweeps.run_dir.paths import CheckpointKey, SweepPaths, SweepRef
from sweeps.run_dir.prepared import Prepared
from sweeps.run_dir.training_pairs import TRAINING_PAIRS, TrainingPairs
from sweeps.selection.verdict import BETTER

AUTO = "auto"
_PROCESSOR_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "feature_extractor_config.json",
    "audio_tokenizer_config.json",
    "chat_template.json",  # where processors of older versions have their template
)
_STATE = (
    "optimizer.safetensors",
    "scheduler.json",
    "trainer_state.json",
    "manifest.json",
    "README.md",
)


def export_and_score(
    sweep: SweepRef, trial: str, step: int, asked_dtype: str | None
) -> ExportedJson:
    """Write `best/` and read it back; score the final split, unless that is done. Runs on a worker.

    Args:
        sweep: The sweep.
        trial: Trial of the winner.
        step: Step of the winner.
        asked_dtype: `export.dtype` of the config.

    Returns:
        The manifest of `best/`.

    Raises:
        UserError: The checkpoint is damaged.
    """
    from dpo_core.models.load import silence_libraries

    silence_libraries()
    paths = sweep.paths
    with paths.store.scratch() as scratch:
        export = _Export.into(scratch, paths, (trial, step), asked_dtype)
        manifest = export.write()
        if final_outcomes(paths, trial, step) is None:
            metadata = {"trial": trial, "step": step, "split": "final"}
            content = write_outcomes(export.score_final(), metadata)
            paths.store.write(paths.final_outcome(trial, step), content)
        paths.store.upload(export.folder, paths.best, last=MANIFEST)
    return manifest


def exported(paths: SweepPaths) -> CheckpointKey | None:
    """Return which checkpoint `best/` holds, without a look at its weights.

    Returns:
        Its trial and step; None while `best/` is incomplete.

    Raises:
        DamagedFile: The manifest is damaged.
    """
    about = ExportedModel.of(paths).manifest
    if about is None:
        return None
    holds_model = about.get("asked_dtype", AUTO) is not None
    if holds_model and not paths.store.exists(f"{paths.best}/{CONFIG}"):
        return None
    return about["trial"], about["step"]


def is_exported(paths: SweepPaths, checkpoint: CheckpointKey, asked_dtype: str | None) -> bool:
    """Check whether `best/` holds this checkpoint in this dtype, every file as it was written.

    Args:
        paths: The run directory.
        checkpoint: Trial and step.
        asked_dtype: `export.dtype` of the config.

    Returns:
        Whether it does. The model card does not count: it is written anew each time.
    """
    model = ExportedModel.of(paths)
    if not model.is_whole(without=CARD) or exported(paths) != checkpoint:
        return False
    manifest = model.manifest
    return manifest is not None and manifest.get("asked_dtype", asked_dtype) == asked_dtype


def export_note(manifest: ExportedJson, folder: str) -> tuple[str, bool] | None:
    """Say what storing the winner has lost, or why it is stored in another dtype than the model's.

    Args:
        manifest: The manifest of `best/`.
        folder: URI of the run directory.

    Returns:
        The sentence, and whether it is a warning; None where nothing is lost.
    """
    stored, rejected = manifest.get("margins"), manifest.get("rejected")
    if stored and stored["lost"] > LARGEST_LOSS:
        remedy = f"`dpo-sweeps select {folder} --set export.dtype=float32 --write` keeps them"
        if stored["dtype"] == FLOAT32:
            remedy = (
                f"best/{ADAPTER}/ has them, and this is a defect of dpo-sweeps: please report it"
            )
        return f"best/ in {_describe_loss(stored, 'are')}; {remedy}", True
    if rejected:
        reason = _describe_loss(rejected, "would be")
        return f"best/ is stored in float32: in the model's own {reason}", False
    return None


def _describe_loss(margins: StoredMarginsJson, verb: str) -> str:
    return (
        f"{margins['dtype']}, {100 * margins['lost']:.0f} % of the winner's margins on select {verb} "
        f"lost (their mean is {margins['stored']:.3g} instead of {margins['chosen']:.3g} nats)"
    )


@dataclass(frozen=True)
class _Export:
    """An export that is under way, in a scratch folder."""

    paths: SweepPaths
    checkpoint: CheckpointKey
    source: Path
    """Folder of the checkpoint."""
    folder: Path
    """Folder that becomes `best/`."""
    whole: Path
    """Folder of the whole model: the same, or another one where only the adapter is exported."""
    asked_dtype: str | None

    @classmethod
    def into(
        cls, scratch: Path, paths: SweepPaths, checkpoint: CheckpointKey, asked_dtype: str | None
    ) -> _Export:
        """Begin an export with the checkpoint at hand.

        Args:
            scratch: An empty folder.
            paths: The run directory.
            checkpoint: Trial and step of the winner.
            asked_dtype: `export.dtype` of the config.

        Returns:
            An export of which nothing is written yet.

        Raises:
            UserError: The checkpoint is damaged.
        """
        source, folder = checkpoint_folder(paths, checkpoint, scratch), scratch / "best"
        whole = scratch / "whole" if asked_dtype is None else folder
        return cls(paths, checkpoint, source, folder, whole, asked_dtype)

    @property
    def settings(self) -> ModelSettings:
        """The base model and its adapter."""
        return read_config(self.paths).model

    def write(self) -> ExportedJson:
        """Write weights, adapter, tokenizer and manifest; return the manifest."""
        from dpo_core.models.load import load_tokenizer, model_folder

        margins, rejected = self._write_weights()
        self.folder.mkdir(exist_ok=True)
        if self.settings.adapter is not None:
            shutil.copytree(
                self.source, self.folder / ADAPTER, ignore=shutil.ignore_patterns(*_STATE)
            )
            _name_base(self.folder / ADAPTER, self.settings)
        load_tokenizer(self.settings).save_pretrained(self.folder)
        copy_processor(model_folder(self.settings), self.folder)
        training_pairs = TrainingPairs.of_sweep(self.paths).encode()
        (self.folder / TRAINING_PAIRS).write_bytes(training_pairs)
        trial, step = self.checkpoint
        manifest: ExportedJson = {
            "trial": trial,
            "step": step,
            "asked_dtype": self.asked_dtype,
            "margins": margins,
            "rejected": rejected,
            "weights_sha256": Prepared.read(self.paths).weights_sha256,
            "base_model": base_name(self.settings.path),
            "files": ExportedModel.digests_of(self.folder),
        }
        (self.folder / MANIFEST).write_bytes(json_files.EXPORTED.encode(manifest))
        return manifest

    def score_final(self) -> Outcomes:
        """Score the final split with what was written, in the precision of all held-out pairs.

        Half precision would round a merged adapter away, so there the adapter runs beside its base,
        as it did in training.
        """
        from dpo_core.models.load import load_model, load_trained, whole_model
        from dpo_core.scoring.scorer import best_device

        settings, device = self.settings, best_device()
        is_exact = (Prepared.read(self.paths).score_dtype or settings.dtype) == FLOAT32
        if is_exact or settings.adapter is None:
            settings = whole_model(settings, self.whole)
            return score_policy(self.paths, load_model(settings, device), settings, "final")
        policy = load_trained(settings, self.source, device)
        return score_policy(self.paths, policy, settings, "final")

    def _write_weights(self) -> tuple[StoredMarginsJson, StoredMarginsJson | None]:
        """Write the whole model, in float32 where `auto` finds that the model's dtype loses too much.

        Returns:
            The margins of what is stored, and of what is not because it loses too much.
        """
        margins = SelectMargins(self.paths, self.checkpoint, self.source)
        if self.asked_dtype is None:
            return {**self._written(margins, FLOAT32), "dtype": None}, None
        if self.asked_dtype != AUTO:
            return self._written(margins, self.asked_dtype), None
        stored = self._written(margins, None)
        if stored["lost"] <= LARGEST_LOSS or stored["dtype"] == FLOAT32:
            return stored, None
        shutil.rmtree(self.whole)
        return self._written(margins, FLOAT32), stored

    def _written(self, margins: SelectMargins, dtype: str | None) -> StoredMarginsJson:
        """Write the whole model in a dtype, None for that of its base; read it back and score it."""
        from dpo_core.models.weight_files import WeightFiles

        write_whole(self.settings, self.source, self.whole, dtype)
        stored = margins.of_model(self.whole)
        return {
            "dtype": str(WeightFiles(self.whole).main_dtype).removeprefix("torch."),
            "chosen": float(margins.chosen.mean()),
            "stored": float(stored.mean()),
            "lost": share_lost(margins.chosen, stored),
        }


def _name_base(adapter: Path, settings: ModelSettings) -> None:
    """Name the base model in an adapter's config so that it means the same on another machine."""
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text())
    named = {"base_model_name_or_path": base_name(settings.path), "revision": settings.revision}
    file.write_text(json.dumps({**config, **named}, indent=2, sort_keys=True))


def copy_processor(base: Path, target: Path) -> None:
    """Copy what turns images, video and sound into inputs, where the base model has such files.

    Args:
        base: The folder of the base model.
        target: The folder of the exported model, with the tokenizer's files, which stay as they are.
    """
    for name in _PROCESSOR_FILES:
        if (base / name).is_file() and not (target / name).exists():
            shutil.copyfile(base / name, target / name)


def write_whole(settings: ModelSettings, source: Path, target: Path, dtype: str | None) -> None:
    """Write what was trained as a whole model.

    Args:
        settings: The base model and its adapter.
        source: A folder with the adapter, or with the model where there is no adapter.
        target: A new folder for weights and config.
        dtype: The dtype of the weights; None for that of the base model.
    """
    import torch

    from dpo_core.models.load import model_folder
    from dpo_core.models.merge import write_converted, write_merged

    stored: torch.dtype | None = getattr(torch, dtype) if dtype else None
    if settings.adapter is None:
        write_converted(source, model_folder(settings), target, stored)
    else:
        write_merged(settings, source, target, stored)


def checkpoint_folder(paths: SweepPaths, checkpoint: CheckpointKey, scratch: Path) -> Path:
    """Return a local folder with a whole checkpoint.

    Args:
        paths: The run directory.
        checkpoint: Trial and step.
        scratch: Where a copy goes if the run directory is on no disk of this machine.

    Returns:
        The checkpoint's own folder, or the copy.

    Raises:
        UserError: The checkpoint is damaged, or was removed by `dpo-sweeps clean`.
    """
    from dpo_core.training.checkpoints import read_manifest

    refuse_if_cleaned(paths, checkpoint)
    trial, step = checkpoint
    source = paths.store.download(paths.checkpoint(trial, step), scratch / "checkpoint")
    try:
        read_manifest(source)
    except (OSError, ValueError) as error:
        raise UserError(
            f"checkpoint of {trial} at step {step}: {error}; delete its folder, and `dpo-sweeps resume "
            f"{paths.store.uri}` chooses among the other checkpoints"
        ) from None
    return source


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
    """Copy `best/`, checked against its manifest.

    Args:
        paths: The run directory.
        target: A folder that is empty or new.
        selection: Content of selection.json.
        even_if_not_better: Copy a winner too that is not better than what it was compared with.

    Raises:
        UserError: There is no such winner, no `best/` yet, a file of it is damaged, or the target is
            in use.
    """
    verdict = selection["verdict"]
    if selection["winner"] is None:
        raise UserError(f"{paths.store.uri}: has no winner: {verdict['sentence']}")
    if verdict["word"] != BETTER and not even_if_not_better:
        raise UserError(f"{verdict['sentence']}; give --even-if-not-better to export it")
    if exported(paths) is None:
        ExportedModel.of(paths).check()  # says which file is gone, where the manifest is there
        raise UserError(
            f"{paths.store.uri}: has no {paths.best}/ yet, or its {MANIFEST} is gone; `dpo-sweeps "
            "resume` finishes the sweep"
        )
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file; give a new folder")
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target}: is not empty; give a new folder")
    with tempfile.TemporaryDirectory() as scratch:
        source = ExportedModel.of(paths).download(Path(scratch))
        # Without modes: files of older exports can be read by their owner alone.
        shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
