"""One reader and one writer for every JSON file of a run directory and of the nights.

Files are written with a digest of what they hold, which every reading checks; see
`dpo_core.storage.json_content`. They are read in three modes.

`required` and `optional` refuse a damaged file in one line that names the file, what is wrong with it
and the way out, which differs by file; `optional` returns None where there is no file. `rebuildable`
also returns None for a damaged file, for callers that then make the file anew. A folder where the file
belongs is refused in every mode, since nothing can be written there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dpo_core.errors import UserError
from dpo_core.storage.json_content import DamagedJson, decode_json, encode_json
from dpo_core.storage.names import stays_inside
from dpo_core.storage.store import Store
from sweeps.run_dir.paths import step_name

log = logging.getLogger("dpo_sweeps")


class DamagedFile(UserError):
    """A file of a run directory that cannot be used as it is."""


def _no_names(_: Any) -> Iterable[object]:
    return ()


@dataclass(frozen=True)
class JsonFile:
    """A kind of JSON file: an object or a list of objects, and the way out when it is damaged."""

    way_out: str
    """Completes the sentence "FILE is cut off; …". `{folder}` stands for the folder of the store."""
    keys: tuple[str, ...] = ()
    """What its readers rely on, in the object or in each object of the list."""
    is_list: bool = False
    indent: int | None = 2
    """Spaces of a level; None where a file holds many numbers, which then stand in one line."""
    allow_nan: bool = True
    """Whether it may hold NaN, which other programs than Python do not read."""
    names: Callable[[Any], Iterable[object]] = _no_names
    """Returns what is joined into the names of files, of the object or of each of the list."""

    def write(self, store: Store, name: str, content: object) -> None:
        """Replace the file whole.

        Args:
            store: The folder or bucket.
            name: The file's name there.
            content: An object, or a list of objects.
        """
        store.write(name, self.encode(content))

    def encode(self, content: object) -> bytes:
        """Return the file's bytes for what it is to hold."""
        return encode_json(content, indent=self.indent, allow_nan=self.allow_nan)

    def required(self, store: Store, name: str) -> Any:
        """Return what the file holds. Raises DamagedFile when it is missing or damaged."""
        content = self.optional(store, name)
        if content is None:
            raise self.damaged(store, name, "is missing")
        return content

    def optional(self, store: Store, name: str) -> Any:
        """Return what the file holds, None without a file. Raises DamagedFile when it is damaged."""
        try:
            return self._read(store, name)
        except DamagedJson as error:
            raise self.damaged(store, name, str(error)) from None

    def rebuildable(self, store: Store, name: str) -> Any:
        """Return what the file holds; None without a file, and for a damaged one, which is logged."""
        try:
            return self._read(store, name)
        except DamagedJson as error:
            log.warning(f"{store.uri}/{name}: {error}; it is not used")
            return None

    def damaged(self, store: Store, name: str, problem: str) -> DamagedFile:
        """Return the error for a damaged file.

        Args:
            store: Where the file is.
            name: Its name there.
            problem: What is wrong, such as "is cut off".

        Returns:
            An error that names the file, the problem and the way out.
        """
        return DamagedFile(
            f"{store.uri}/{name}: {problem}; {self.way_out.format(folder=store.uri)}"
        )

    def _read(self, store: Store, name: str) -> Any:
        try:
            content = decode_json(store.read(name))
        except FileNotFoundError:
            return None
        self._check(content)
        return content

    def _check(self, content: object) -> None:
        if self.is_list and not isinstance(content, list):
            raise DamagedJson(f"holds {_kind(content)} where a list belongs")
        for row in content if self.is_list and isinstance(content, list) else [content]:
            if not isinstance(row, dict):
                raise DamagedJson(f"holds {_kind(row)} where an object belongs")
            missing = [key for key in self.keys if key not in row]
            if missing:
                raise DamagedJson(f"lacks {', '.join(map(repr, missing))}")
            self._check_names(row)

    def _check_names(self, row: Mapping[str, Any]) -> None:
        """Refuse names that lead out of the folder: somebody else may have written them."""
        try:
            leaving = [name for name in self.names(row) if not stays_inside(name)]
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DamagedJson(f"holds no names of files where they belong ({error})") from None
        if leaving:
            raise DamagedJson(f"names {leaving[0]!r}, which is no file of its folder")


def _kind(value: object) -> str:
    """Name a JSON value's type as JSON does."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else "a number")


def _checkpoint(row: Mapping[str, Any]) -> tuple[object, str]:
    return row["trial"], step_name(row["step"])


_RESUME = "`dpo-sweeps resume {folder}`"

PREPARED = JsonFile(
    f"{_RESUME} prepares the sweep again",
    keys=(
        "data_sha256",
        "weights_sha256",
        "tokenizer_sha256",
        "reports",
        "reference_keys",
        "reference_computed",
    ),
    names=lambda row: row["reference_keys"].values(),
)
PAIRS_DIGESTS = JsonFile(f"{_RESUME} reads the data again", keys=("files",))
POINT = JsonFile(
    f"delete it, and {_RESUME} reads the point from the trial's checkpoints, or draws another",
    keys=("point",),
)
CHECKPOINT_MANIFEST = JsonFile(
    "delete the checkpoint's folder, and the trial goes on from an earlier one",
    keys=("point", "seed", "files"),
)
FAILURE = JsonFile(f"delete it, and {_RESUME} runs the trial again", keys=("reason", "detail"))
NODE = JsonFile("delete it, and the report leaves this node out", keys=("host",))
ANSWERS = JsonFile(f"{_RESUME} has the prompts answered again", keys=("by",), indent=None)
FINAL_OPENED = JsonFile(
    "so nobody knows what final was opened for: restore it from a copy, or delete it, and "
    f"{_RESUME} begins it anew",
    keys=("when", "why"),
    is_list=True,
)
REGISTERED = JsonFile(
    "restore it from a copy: without it nobody knows how often that final split was opened; or delete "
    "it, and give final prompts that were never in one (data.final_path)",
    keys=("sweep", "why", "against", "when", "prompts", "number", "declared"),
    names=lambda row: (row["prompts"],),
)
REGISTERED_PROMPTS = JsonFile(
    "restore it from a copy: it names the prompts of a final split that was opened",
    keys=("questions",),
    indent=None,
)
TRAINING_PAIRS = JsonFile("export the model again", keys=("pairs", "questions"), indent=None)
CONFIG_CHANGES = JsonFile(
    "delete it, and the report leaves out what was changed when the sweep went on",
    keys=("when", "key", "old", "new"),
    is_list=True,
)
SELECTION = JsonFile(
    f"{_RESUME} writes it again",
    keys=("sweep", "folder", "objective", "verdict", "winner", "trials"),
    allow_nan=False,
    names=lambda row: _checkpoint(row["winner"]) if row["winner"] else (),
)
EXPORTED = JsonFile(
    f"{_RESUME} exports the winner again",
    keys=("trial", "step"),
    names=lambda row: (*_checkpoint(row), *row.get("files", ())),
)
EXPORTED_COPY = replace(EXPORTED, way_out="copy the model again with `dpo-sweeps export`")
AUDIT = JsonFile(
    f"{_RESUME} audits the data again; or delete it, and the report leaves the audit out",
    keys=("findings",),
)
NIGHT = JsonFile(
    "restore it from a copy; or rename the folder {folder}, and the night begins anew",
    keys=("night", "sweep", "incumbent", "control", "code", "workers", "gpus_per_worker"),
    allow_nan=False,
)
WARM_START = JsonFile(
    "restore it from a copy; or delete it, and the search goes on without the earlier nights",
    keys=("sweep", "weights_sha256", "records"),
    is_list=True,
    indent=None,
    allow_nan=False,
)
TREND = JsonFile(
    "delete it, and the report leaves the nights out; the next `dpo-sweeps nightly` writes it again",
    keys=("night", "sweep", "verdict"),
    is_list=True,
    allow_nan=False,
)
CLEANED = JsonFile("delete it", keys=("when", "removed", "ended"))
LATEST = JsonFile(
    "delete it, and the next night writes it again", keys=("night", "sweep"), allow_nan=False
)
INCUMBENT = JsonFile(
    "restore it from a copy; or delete it to go on without an incumbent",
    keys=("night", "sweep", "trial", "step", "point", "path"),
    allow_nan=False,
)
SHARING = JsonFile(
    "delete it, and it is measured again", keys=("layout", "why_not", "kept_bytes_per_token")
)
LOCK_NOTE = JsonFile("delete it", keys=("holder",))
