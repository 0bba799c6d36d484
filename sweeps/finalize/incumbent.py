"""The incumbent: the model that a winner is compared with, where it is not the reference.

It is the winner of an earlier night, or the model in production.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from dpo_core.encoding.encode import tokenizer_fingerprint
from dpo_core.errors import ModelError, SettingsError
from dpo_core.evaluation.outcomes import read_outcomes_if_whole, write_outcomes
from dpo_core.settings import ModelSettings
from dpo_core.storage.store import Store
from sweeps.config.schema import SweepConfig
from sweeps.finalize.export import score_model
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.paths import SweepPaths, SweepRef
from sweeps.run_dir.prepared import Prepared


@dataclass(frozen=True)
class Incumbent:
    """A model that was exported earlier."""

    name: str
    """What readers know it by."""
    path: str
    """Directory or URI of the model."""

    def settings(self, base: ModelSettings, scratch: Path) -> ModelSettings:
        """Return how to load it: as the base model is loaded; a remote one from a copy in `scratch`."""
        parent, _, folder = self.path.rpartition("/")
        local = Store.open(parent).download(folder, scratch / "incumbent")
        return base.model_copy(update={"path": str(local), "revision": None})


def find_incumbent(config: SweepConfig) -> Incumbent | None:
    """Return the incumbent that the config names, if it names one.

    Raises SettingsError when that is neither a model nor a sweep with an exported model.
    """
    folder = config.selection.incumbent
    if folder is None:
        return None
    paths = SweepPaths.of_folder(folder)
    if paths.store.exists("config.json"):
        return Incumbent(paths.sweep_id, paths.store.uri)
    if paths.store.exists(f"{paths.best}/config.json"):
        return Incumbent(paths.sweep_id, f"{paths.store.uri}/{paths.best}")
    raise SettingsError(
        f"selection.incumbent: {folder} is no exported model and no sweep with a {paths.best}/; give "
        "the folder of either, or leave it out"
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
    from dpo_core.models.load import load_tokenizer, silence_libraries

    silence_libraries()
    paths = sweep.paths
    with tempfile.TemporaryDirectory(dir=paths.scratch) as scratch:
        settings = incumbent.settings(read_config(paths).model, Path(scratch))
        tokens = tokenizer_fingerprint(load_tokenizer(settings))
        if tokens != Prepared.read(paths).tokenizer_sha256:
            raise ModelError(
                f"selection.incumbent: {incumbent.path} has another tokenizer or chat template than the "
                "sweep's model, so their numbers do not compare; leave it out"
            )
        metadata = {"incumbent": incumbent.name, "path": incumbent.path, "split": split}
        content = write_outcomes(score_model(paths, settings, split), metadata)
    paths.store.write(paths.incumbent_outcome(split), content)
