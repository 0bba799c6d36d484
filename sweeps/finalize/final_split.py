"""The final split is opened once: when, for what and whether by force is on record before it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from dpo_core.errors import UserError
from dpo_core.storage.store import Store
from sweeps.run_dir import json_files


@dataclass(frozen=True)
class Opening:
    """`when` is UTC, ISO 8601; `why` names whom final was opened for."""

    when: str
    why: str
    forced: bool = False


class FinalSpent(UserError):
    """The final split has been used for something else."""


def read_openings(store: Store, name: str) -> list[Opening]:
    """Every opening on record, the first one first. Raises DamagedFile."""
    rows = json_files.FINAL_OPENED.optional(store, name) or []
    return [Opening(row["when"], row["why"], bool(row.get("forced"))) for row in rows]


def open_final(store: Store, name: str, why: str, when: str, *, force: bool = False) -> None:
    """Durably on record when it returns. The same `why` again is no other opening.

    Raises FinalSpent for another one without `force`.
    """
    found = read_openings(store, name)
    if any(opening.why == why for opening in found):
        return
    if found and not force:
        raise FinalSpent(
            f"the final split was opened on {found[0].when} for {found[0].why}; what is chosen after "
            f"having seen it flatters itself, so {why} needs `dpo-sweeps select FOLDER --write "
            "--open-final-again`, which is recorded"
        )
    rows = [asdict(opening) for opening in [*found, Opening(when, why, forced=bool(found))]]
    store.write(name, json.dumps(rows, indent=2).encode())
