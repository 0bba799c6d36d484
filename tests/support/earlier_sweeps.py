"""Run directories that an earlier version wrote: one sweep that ended, one cut off, one night.

`tests/data/earlier_sweeps/` holds them as they were before the code moved to folders by concern
(commit 5afefcb), with the toy model and the pairs that they were made of, and what that version gave
for the one that was cut off, once it had resumed it.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from tests.support.repository import ROOT

FOLDER = ROOT / "tests" / "data" / "earlier_sweeps"
_MADE_IN = "/tmp/oldsweep"
_NAMES_PATHS = ("config.yaml", "selection.json", "latest.json", "incumbent.json", "nightly.yaml")


def unpack(folder: Path) -> Path:
    """Unpack everything below `folder` and return `folder`, whose path the files then name."""
    with tarfile.open(FOLDER / "rooms.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    for path in folder.rglob("*"):
        if path.name in _NAMES_PATHS:
            path.write_text(path.read_text().replace(_MADE_IN, str(folder)))
    return folder


def resumed_by_the_earlier_version() -> dict[str, Any]:
    """Return parts of the selection.json of `cut-1`, as the earlier version resumed it."""
    selection: dict[str, Any] = json.loads((FOLDER / "cut-1-resumed.json").read_text())
    return selection
