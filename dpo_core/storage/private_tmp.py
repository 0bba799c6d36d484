"""A folder for temporary files that only this user's processes can read and write.

Every user of the machine can work out its name, so another user might create it first and change the
files in it later. Such a folder is refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from dpo_core.errors import SettingsError


def private_tmp_folder() -> Path:
    """Return `<temporary folder>/dpo-sweeps-<user id>`, and create it if it is missing.

    Raises SettingsError when the path is a link or a folder of another user.
    """
    folder = Path(tempfile.gettempdir()) / f"dpo-sweeps-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise SettingsError(
            f"{folder}: is a link or belongs to another user, who could change what is read from it; "
            "set TMPDIR to a folder of your own"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder
