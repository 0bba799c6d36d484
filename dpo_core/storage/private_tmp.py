"""A folder for temporary files that this user's processes share, and that nobody else can reach.

Its name is known to all users of the machine, so one of them might have made it first: what lies in
it would be theirs to change. Such a folder is refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from dpo_core.errors import SettingsError


def private_tmp_folder() -> Path:
    """`<temporary folder>/dpo-sweeps-<user id>`, made where it is missing. Raises SettingsError."""
    folder = Path(tempfile.gettempdir()) / f"dpo-sweeps-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SettingsError(
            f"{folder}: is a link or belongs to another user, who could change what is read from it; "
            "set TMPDIR to a folder of your own"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder
