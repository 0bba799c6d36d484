"""The model that a sweep must beat, when it is not the reference: last night's, or production's."""

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
    """`path` is a model's directory or URI; `name` is what it is told by."""

    name: str
    path: str

    def settings(self, base: ModelSettings, scratch: Path) -> ModelSettings:
        """To load it as the base model is loaded; a remote one is fetched to `scratch`."""
        parent, _, folder = self.path.rpartition("/")
        local = Store.open(parent).download(folder, scratch / "incumbent")
        return base.model_copy(update={"path": str(local), "revision": None})


def find_incumbent(config: SweepConfig) -> Incumbent | None:
    """Raises SettingsError when what the config names is neither a model nor a sweep with one."""
    given = config.selection.incumbent
    if given is None:
        return None
    paths = SweepPaths.of_folder(given)
    if paths.store.exists("config.json"):
        return Incumbent(paths.sweep_id, paths.store.uri)
    if paths.store.exists(f"{paths.best}/config.json"):
        return Incumbent(paths.sweep_id, f"{paths.store.uri}/{paths.best}")
    raise SettingsError(
        f"selection.incumbent: {given} is no exported model and no sweep with a {paths.best}/; give "
        "the folder of either, or leave it out"
    )


def is_scored(paths: SweepPaths, incumbent: Incumbent, split: str) -> bool:
    """Whether this incumbent's outcomes on a split are in the sweep's folder."""
    name = paths.incumbent_outcome(split)
    found = read_outcomes_if_whole(paths.store.read(name)) if paths.store.exists(name) else None
    return bool(found and found[1]["path"] == incumbent.path)


def score_incumbent(paths: SweepPaths, incumbent: Incumbent, split: str, call: RemoteCall) -> None:
    """Its outcomes on a split into the sweep's folder, unless they are there."""
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
