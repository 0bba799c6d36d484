"""The note of who has a lock: the process, its heartbeat, and a fencing number.

The number grows by one with each holder. A process that was held up and goes on later sees a higher
number in the note, and knows that its lock is lost. In a folder a number is taken by exclusive
creation of a file that has it in its name, so that of several processes one gets it. An object store
has no such operation in every library, so there the note that was written last counts.

Tested in tests/unit/sweeps/run_dir/test_lock.py.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpo_core.errors import UserError
from dpo_core.storage.exclusive import create_exclusively
from dpo_core.storage.store import Store
from sweeps.run_dir import json_files
from sweeps.run_dir.process_identity import this_process


class Busy(UserError):
    """Refusal because another process works on the same sweep or nights; try again later."""

    exit_code = 75


class LeaseNote:
    """The note of the lock `name`, as one process reads and writes it."""

    def __init__(self, store: Store, name: str, subject: str | None = None) -> None:
        """Begin a note of the lock `name`; messages say `subject`, which is by default the name."""
        self.store, self.name, self.file = store, name, f"{name}.json"
        self._subject = subject or name
        self.holder, self.fence = uuid.uuid4().hex, 0
        self._since = datetime.now(UTC).isoformat(timespec="seconds")

    def take(self, before: Mapping[str, Any]) -> None:
        """Write the note under the next fencing number.

        Args:
            before: What `latest` returned when the lock was free.

        Raises:
            Busy: Another process took the number first.
            StorageError: The folder's file system creates no file exclusively.
        """
        claims = self._claims()
        self.fence = 1 + max([int(before.get("fence", 0)), *claims])
        claim = self.store.local_path(self._claim_file(self.fence))
        if claim is not None:
            if claims and max(claims) > int(before.get("fence", 0)):
                raise self.busy_error()  # taken since `before` was read
            self._claim(claim)
        self.write()
        for earlier in claims:
            self.store.delete(self._claim_file(earlier))

    def write(self, renewals: int = 0, *, released: bool = False) -> None:
        """Write the note anew: `renewals` is the heartbeat."""
        self.store.write(self.file, self._content(renewals, released))

    def latest(self) -> dict[str, Any]:
        """Return the note with the highest fencing number; empty when there is none.

        A process that died between taking a number and writing the note has left its claim alone.
        """
        note: dict[str, Any] = json_files.LOCK_NOTE.rebuildable(self.store, self.file) or {}
        number = max(self._claims(), default=0)
        if number <= int(note.get("fence", 0)):
            return note
        return {"holder": "?", **self._claimed(number), "fence": number}

    @property
    def is_mine(self) -> bool:
        return bool(self.latest().get("holder") == self.holder)

    @property
    def is_lost(self) -> bool:
        """Return whether another process has taken the lock since.

        A lower number is the late write of a process that lost the lock to this one. Earlier versions
        wrote none.
        """
        note = self.latest()
        is_of_another = note.get("holder", self.holder) != self.holder
        return is_of_another and int(note.get("fence", sys.maxsize)) >= self.fence

    def busy_error(self) -> Busy:
        note = self.latest()
        pid, host, since = (note.get(key, "?") for key in ("pid", "host", "since"))
        return Busy(
            f"{self._subject}: process {pid} on {host} has been at work on it since {since}; wait until "
            "it ends, or end it, and start again"
        )

    def _claim(self, path: Path) -> None:
        if not create_exclusively(path, self._content(0, released=False)):
            raise self.busy_error()
        if max(self._claims()) != self.fence:  # this process was held up before it created the file
            path.unlink()
            raise self.busy_error()

    def _claims(self) -> list[int]:
        """Return the numbers that were taken in a folder and not yet removed."""
        if self.store.local is None:
            return []
        pattern = re.compile(rf"{re.escape(self.name)}\.(\d{{9}})\.claim")
        return [int(match[1]) for name in self.store.names() if (match := pattern.fullmatch(name))]

    def _claimed(self, number: int) -> dict[str, Any]:
        try:
            claim: object = json.loads(self.store.read(self._claim_file(number)))
        except (FileNotFoundError, ValueError):
            return {}
        return claim if isinstance(claim, dict) else {}

    def _claim_file(self, number: int) -> str:
        return f"{self.name}.{number:09d}.claim"

    def _content(self, renewals: int, released: bool) -> bytes:
        note = {
            "holder": self.holder,
            **this_process(),
            "since": self._since,
            "fence": self.fence,
            "renewals": renewals,
            "released": released,
        }
        return json.dumps(note).encode()
