"""The name of a base model in what is handed on: one that means the same on every machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dpo_core.models.packaged import HUB_ID, PREFIX

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SNAPSHOT = re.compile(r"models--([\w.-]+?)--([\w.-]+)/snapshots/")


def base_name(path: str) -> str:
    """Return the hub id of a model, or a name without the folders of this machine.

    Args:
        path: A folder, a hub id, or `package:…`, as `model.path` has it.

    Returns:
        The hub id, where the path, the hub's cache or the model's config.json tells it; else a relative
        path as it was given; else the name of the folder.
    """
    if path.startswith(PREFIX):
        return HUB_ID
    if not Path(path).is_dir() and _HUB_ID.fullmatch(path):
        return path
    cached = _SNAPSHOT.search(f"{Path(path).as_posix()}/")
    if cached is not None:
        return f"{cached[1]}/{cached[2]}"
    origin = _origin(Path(path))
    if origin is not None:
        return origin
    is_of_machine = Path(path).is_absolute() or path.startswith(("~", ".."))
    return Path(path).resolve().name if is_of_machine else Path(path).as_posix()


def _origin(folder: Path) -> str | None:
    """Return the hub id that a model's config says it was loaded from."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    origin = config.get("_name_or_path") if isinstance(config, dict) else None
    return origin if isinstance(origin, str) and _HUB_ID.fullmatch(origin) else None
