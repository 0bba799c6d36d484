"""Data sets of the Hugging Face hub, of which only the files that are read are downloaded.

No code and no settings of a repository are run: its files are read as those of a folder are.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dpo_core.errors import DataError
from dpo_core.preferences.files.choose_files import choose_files
from dpo_core.preferences.files.folders import file_names, readme_data_sets, refuse_link_out
from dpo_core.preferences.files.formats import read_file
from dpo_core.preferences.files.readers import Record
from dpo_core.preferences.files.readme import README
from dpo_core.settings import HUB, SourceSettings

T = TypeVar("T")
_ADDRESS = re.compile(
    rf"{HUB}(?:datasets/)?(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<files>.+))?"
)
_LIST_S = 30.0


@dataclass(frozen=True)
class HubAddress:
    """A data set of the hub: `hf://owner/name`, perhaps with `@revision` and `/files` behind it."""

    repository: str
    revision: str | None
    files: str | None

    @classmethod
    def of(cls, source: SourceSettings) -> HubAddress:
        """Read the address of a source. Raises DataError if it is none."""
        match = _ADDRESS.fullmatch(source.path)
        if match is None:
            raise DataError(
                f"{source.path}: is no data set of the hub; write {HUB}owner/name, and its files by "
                "`subset`, `split` or `data_files`"
            )
        for key, in_path in (
            ("revision", match["revision"]),
            ("data_files", match["files"]),
            ("subset", match["files"]),
        ):
            in_keys = getattr(source, key)
            if in_path and in_keys:
                raise DataError(
                    f"{source.path}: names {in_path!r}, and `{key}` {in_keys!r}; keep one of them"
                )
        # The hub's own pages write `~parquet` for the branch of converted files.
        revision = re.sub("^~", "refs/convert/", match["revision"] or "") or source.revision
        return cls(match["repository"], revision, match["files"])


def hub_records(source: SourceSettings) -> Iterator[Record]:
    """Download what a source reads and return its records.

    Raises:
        DataError: The hub does not give it, or it holds no such files.
    """
    address = HubAddress.of(source)
    name = f"{HUB}{address.repository}"
    reading = source.model_copy(update={"data_files": address.files}) if address.files else source
    repository = _Repository(address, source.path)
    names = repository.names()
    named = readme_data_sets(repository.download([README])) if README in names else []
    chosen = choose_files(names, named, reading, name)
    folder = repository.download(chosen)
    for each in chosen:
        refuse_link_out(folder / each, folder)
    return (record for each in chosen for record in _records(folder / each, f"{name}/{each}"))


class _Repository:
    """One commit of a repository, or what the cache has of it where the hub must not be asked."""

    def __init__(self, address: HubAddress, path: str) -> None:
        self.address, self.path = address, path
        self.commit: str | None = None

    def names(self) -> list[str]:
        """List the files."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import OfflineModeIsEnabled

        repository, revision = self.address.repository, self.address.revision

        def ask() -> list[str] | None:
            try:
                info = HfApi().dataset_info(repository, revision=revision, timeout=_LIST_S)
            except OfflineModeIsEnabled:
                return None
            self.commit = info.sha
            return [file.rfilename for file in info.siblings or []]

        names = self._asked(ask)
        return sorted(file_names(self.download([README]))) if names is None else names

    def download(self, names: list[str]) -> Path:
        """Download files, unless the cache has them, and return their folder."""
        from huggingface_hub import snapshot_download

        def ask() -> Path:
            folder = snapshot_download(
                self.address.repository,
                repo_type="dataset",
                revision=self.address.revision,
                allow_patterns=[glob.escape(name) for name in names],
            )
            return Path(folder)

        folder = self._asked(ask)
        if self.commit is not None and folder.name != self.commit:
            raise DataError(f"{self.path}: has changed while it was downloaded; start again")
        return folder

    def _asked(self, ask: Callable[[], T]) -> T:
        """Return what the hub answers, and raise DataError for whatever goes wrong."""
        try:
            return ask()
        except Exception as error:  # the client, the network and the hub raise their own
            line = str(error).strip().partition("\n")[0]
            raise DataError(
                f"{self.path}: the Hugging Face hub did not give it ({type(error).__name__}: {line}); "
                "check the spelling, sign in or go online, or give a local file"
            ) from error


def _records(file: Path, name: str) -> Iterator[Record]:
    """Yield the records of a downloaded file under its name on the hub."""
    try:
        for record in read_file(file):
            row = record.row
            if isinstance(row, DataError):
                row = DataError(str(row).replace(str(file), name, 1))
            yield Record(row, record.line, record.where.replace(str(file), name, 1))
    except DataError as error:
        raise DataError(str(error).replace(str(file), name, 1)) from error
