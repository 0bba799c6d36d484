"""The incumbent: the model that a winner is compared with, where it is not the reference.

It is the winner of an earlier night, or the model in production.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.encoding.encode import tokenizer_fingerprint
from dpo_core.errors import ModelError, SettingsError
from dpo_core.evaluation.outcomes import read_outcomes_if_whole, write_outcomes
from dpo_core.settings import FLOAT32, LoraSettings, ModelSettings
from sweeps.config.schema import SweepConfig
from sweeps.finalize.score_policy import score_policy
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.exported import ADAPTER, CONFIG, ExportedModel
from sweeps.run_dir.final_register import row_question
from sweeps.run_dir.paths import SweepPaths, SweepRef
from sweeps.run_dir.prepared import Prepared, read_split
from sweeps.run_dir.training_pairs import TrainingPairs

if TYPE_CHECKING:
    from dpo_core.models.load import CausalModel

log = logging.getLogger("dpo_sweeps")


@dataclass(frozen=True)
class Incumbent:
    """A model that was exported earlier."""

    name: str
    """What readers know it by."""
    path: str
    """Directory or URI of the model."""

    def load(
        self, base: ModelSettings, prepared: Prepared, scratch: Path, device: str
    ) -> LoadedIncumbent:
        """Load it as the sweep's own checkpoints are loaded, with all its files checked.

        A whole model is loaded from its files, unless half precision scores: that would round a
        merged adapter away, so there the adapter runs over the sweep's base, as those of trials do.

        Args:
            base: The sweep's model.
            prepared: The precision of scores, and the fingerprint of the base.
            scratch: A folder for the copy of a remote model.
            device: "cuda" or "cpu".

        Returns:
            The model, the settings with which it was loaded, and the folder of its tokenizer.

        Raises:
            DamagedFile: A file is not what the model's manifest says.
            ModelError: It is an adapter alone, of another base.
        """
        from dpo_core.models.load import load_model, load_trained, whole_model

        exported = ExportedModel.at(self.path)
        folder, manifest = exported.download(scratch / "incumbent"), exported.manifest
        is_whole = (folder / CONFIG).is_file()
        is_of_base = bool(manifest and manifest.get("weights_sha256") == prepared.weights_sha256)
        if not is_whole and not is_of_base:
            raise ModelError(
                f"selection.incumbent: {self.path} is an adapter without its base model, which is "
                "another one than this sweep's; export it with export.dtype: auto"
            )
        is_exact = (prepared.score_dtype or base.dtype) == FLOAT32
        if is_whole and (is_exact or not is_of_base or not (folder / ADAPTER).is_dir()):
            settings = whole_model(base, folder)
            return LoadedIncumbent(load_model(settings, device), settings, folder)
        settings = base.model_copy(update={"adapter": base.adapter or LoraSettings()})
        model = load_trained(settings, folder / ADAPTER, device)
        return LoadedIncumbent(model, settings, folder)


@dataclass(frozen=True)
class LoadedIncumbent:
    """An incumbent on its device."""

    model: CausalModel
    settings: ModelSettings
    folder: Path
    """A local folder with its tokenizer."""


def find_incumbent(config: SweepConfig) -> Incumbent | None:
    """Return the incumbent that the config names, if it names one.

    Raises SettingsError when that is neither a model nor a sweep with an exported model.
    """
    folder = config.selection.incumbent
    if folder is None:
        return None
    paths = SweepPaths.of_folder(folder)
    for model in (ExportedModel.at(folder), ExportedModel.of(paths)):
        if model.exists:
            return Incumbent(paths.sweep_id, model.uri)
    raise SettingsError(
        f"selection.incumbent: {folder} is no exported model and no sweep with a {paths.best}/; give "
        "the folder of either, or leave it out"
    )


def check_incumbent(config: SweepConfig) -> None:
    """Check the incumbent that the config names, if any, before anything runs.

    Raises UserError when there is none at that path, or a file of it is damaged.
    """
    incumbent = find_incumbent(config)
    if incumbent is not None:
        ExportedModel.at(incumbent.path).check()


def refuse_trained_on_final(paths: SweepPaths, incumbent: Incumbent) -> None:
    """Refuse an incumbent that was trained on pairs of the final split, or on others of their prompts.

    Args:
        paths: The run directory, with its splits.
        incumbent: The incumbent. One of which nobody knows what it was trained on is let through.

    Raises:
        SettingsError: It was.
    """
    trained = TrainingPairs.of_model(incumbent.path)
    if trained is None:
        log.info(f"nobody knows on which pairs {incumbent.path} was trained")
        return
    met = sum(
        row["id"] in trained.ids or row_question(row["prompt"]) in trained.questions
        for row in read_split(paths, "final")
    )
    if met:
        raise SettingsError(
            f"selection.incumbent: {incumbent.path} was trained on {met} of this sweep's final pairs or "
            "on others of their prompts, so its accuracy there means nothing; give final other pairs "
            "(data.final_path), or leave the incumbent out"
        )


def is_scored(paths: SweepPaths, incumbent: Incumbent, split: str) -> bool:
    """Check whether the run directory has this incumbent's outcomes on a split.

    Args:
        paths: The run directory.
        incumbent: The incumbent; outcomes of another one do not count.
        split: `select` or `final`.

    Returns:
        Whether the outcomes are there and whole.
    """
    name = paths.incumbent_outcome(split)
    if not paths.store.exists(name):
        return False
    stored = read_outcomes_if_whole(paths.store.read(name))
    return bool(stored and stored[1]["path"] == incumbent.path)


def score_incumbent(paths: SweepPaths, incumbent: Incumbent, split: str, call: RemoteCall) -> None:
    """Score a split with the incumbent, unless its outcomes are there.

    Args:
        paths: The run directory, to which the outcomes are written.
        incumbent: The incumbent.
        split: `select` or `final`.
        call: Runs the model on a worker.

    Raises:
        ModelError: It has another tokenizer or chat template than the sweep's model.
    """
    if not is_scored(paths, incumbent, split):
        call(_score_remotely, paths.ref, incumbent, split)


def _score_remotely(sweep: SweepRef, incumbent: Incumbent, split: str) -> None:
    from dpo_core.models.load import load_tokenizer, silence_libraries, whole_model
    from dpo_core.scoring.scorer import best_device

    silence_libraries()
    paths = sweep.paths
    base, prepared = read_config(paths).model, Prepared.read(paths)
    with paths.store.scratch() as scratch:
        loaded = incumbent.load(base, prepared, scratch, best_device())
        tokenizer = load_tokenizer(whole_model(base, loaded.folder))
        if tokenizer_fingerprint(tokenizer) != prepared.tokenizer_sha256:
            raise ModelError(
                f"selection.incumbent: {incumbent.path} has another tokenizer or chat template than the "
                "sweep's model, so their numbers do not compare; leave it out"
            )
        metadata = {"incumbent": incumbent.name, "path": incumbent.path, "split": split}
        outcomes = score_policy(paths, loaded.model, loaded.settings, split)
        content = write_outcomes(outcomes, metadata)
    paths.store.write(paths.incumbent_outcome(split), content)
