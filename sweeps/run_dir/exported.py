"""Exported models: `best/` of a run directory, and copies of it, with a manifest of their files.

dpo-sweeps.json       the manifest: which checkpoint, how it is stored, the digest of every file
config.json, *.safetensors, tokenizer files      the whole model, unless only the adapter is stored
adapter/              the LoRA adapter, where there is one
training_pairs.json   the pairs that it was trained on
README.md             the model card

A model without a manifest, such as one from a hub, is used as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NotRequired, TypedDict

from dpo_core.storage.store import Store
from sweeps.run_dir import json_files
from sweeps.run_dir.json_files import DamagedFile, JsonFile
from sweeps.run_dir.json_types import StoredMarginsJson
from sweeps.run_dir.paths import SweepPaths

MANIFEST, CARD, ADAPTER, CONFIG = "dpo-sweeps.json", "README.md", "adapter", "config.json"


class ExportedJson(TypedDict):
    """`dpo-sweeps.json`. Those of earlier versions have `trial` and `step` alone."""

    trial: str
    step: int
    asked_dtype: NotRequired[str | None]
    """`export.dtype` of the config."""
    margins: NotRequired[StoredMarginsJson]
    """Of the stored model; its `dtype` is null where only the adapter is stored."""
    rejected: NotRequired[StoredMarginsJson | None]
    """The same for the base model's dtype, where it loses too much."""
    weights_sha256: NotRequired[str]
    """Of the base model."""
    base_model: NotRequired[str]
    """The base model's hub id, or a name without folders of this machine."""
    files: NotRequired[Mapping[str, str]]
    """SHA-256 of each file by its name within the folder."""


@dataclass(frozen=True)
class ExportedModel:
    """A folder with an exported model; `store` is what it lies in."""

    store: Store
    folder: str

    @classmethod
    def of(cls, paths: SweepPaths) -> ExportedModel:
        """Return the model that a sweep exports."""
        return cls(paths.store, paths.best)

    @classmethod
    def at(cls, uri: str) -> ExportedModel:
        """Return the model in a folder.

        That of a model hub's cache is full of links, and stands where a user names it; what a sweep
        has exported has none.
        """
        paths = SweepPaths.of_folder(uri)
        is_of_sweep = paths.sweep_id == paths.best
        return cls(replace(paths.storage, follows_links=not is_of_sweep), paths.sweep_id)

    @staticmethod
    def digests_of(folder: Path) -> dict[str, str]:
        """Return the digest of every file of a local folder, for a manifest."""
        store = Store.open(folder)
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return {name: store.sha256(name) for name in files}

    @property
    def uri(self) -> str:
        """Return the URI of the folder."""
        return f"{self.store.uri}/{self.folder}"

    @property
    def exists(self) -> bool:
        """Return whether the folder holds a model or an adapter of ours."""
        return any(self.store.exists(self._name(each)) for each in (CONFIG, MANIFEST))

    @property
    def manifest(self) -> ExportedJson | None:
        """Read the manifest, None where there is none. Raises DamagedFile when it is damaged."""
        manifest: ExportedJson | None
        manifest = self._kind.optional(self.store, self._name(MANIFEST))
        return manifest

    def is_whole(self, *, without: str | None = None) -> bool:
        """Return whether a manifest is there and every file is as it says, `without` one of them."""
        manifest = self._kind.rebuildable(self.store, self._name(MANIFEST))
        if manifest is None:
            return False
        files = {n: digest for n, digest in manifest.get("files", {}).items() if n != without}
        return all(self._has(name, digest) for name, digest in files.items())

    def check(self) -> None:
        """Raise DamagedFile where a file is not what the manifest says."""
        for name, digest in self._digests().items():
            if not self._has(name, digest):
                raise self._damaged(name)

    def download(self, folder: Path) -> Path:
        """Return a checked local folder: a new copy in `folder`, or this one on a disk of ours.

        Raises DamagedFile where a file is not what the manifest says.
        """
        local = self.store.download(self.folder, folder)
        store = replace(Store.open(local.parent), follows_links=self.store.follows_links)
        copy = ExportedModel(store, local.name)
        for name, digest in self._digests().items():
            if not copy._has(name, digest):
                raise self._damaged(name)
        return local

    def write_card(self, card: str) -> None:
        """Write the model card, and then its digest into the manifest."""
        name, content = self._name(CARD), card.encode()
        self.store.write(name, content)
        manifest = self.manifest
        if manifest is not None:
            files = {**manifest.get("files", {}), CARD: self.store.sha256(name)}
            content_now: ExportedJson = {**manifest, "files": files}
            self._kind.write(self.store, self._name(MANIFEST), content_now)

    @property
    def _kind(self) -> JsonFile:
        return json_files.EXPORTED if self.folder == SweepPaths.best else json_files.EXPORTED_COPY

    def _name(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def _digests(self) -> Mapping[str, str]:
        """Return the digests to check: none without a manifest, or with one of earlier versions."""
        manifest = self.manifest
        return {} if manifest is None else manifest.get("files", {})

    def _has(self, name: str, digest: str) -> bool:
        try:
            return self.store.sha256(self._name(name)) == digest
        except FileNotFoundError:
            return False

    def _damaged(self, name: str) -> DamagedFile:
        return self._kind.damaged(self.store, self._name(name), "is missing or damaged")
