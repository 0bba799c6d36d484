"""Who may use a Ray that we start: whoever can read a token file that is its owner's alone.

Ray runs any code that it is sent, so a Ray without a token is open to every program and every web
page of the machine. Ray's own token file can be read by all users; ours cannot. A cluster that
somebody else started has its own rules, and nothing here touches them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def ask_for_token(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Call before a Ray is started here. Returns a warning when its owner wants it open, or when
    the token cannot be kept in a file: then it lives in this process alone."""
    if environment.setdefault(MODE, "token").lower() != "token":
        return (
            f"{MODE}={environment[MODE]}: this Ray lets in whoever reaches its ports, to run any "
            f"code; unset {MODE} to have it ask for a token"
        )
    warning = None
    if not environment.get(TOKEN):
        file = Path(environment.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")
        try:
            _keep_private(file)
        except OSError as error:
            environment[TOKEN] = secrets.token_hex(32)
            warning = (
                f"{file}: no token can be kept there ({error.strerror}), so the dashboard of this Ray "
                f"stays closed to you; set {TOKEN_PATH} to a file that can be written"
            )
    _tell_ray()
    return warning


def how_to_enter(environment: Mapping[str, str] = os.environ) -> str:
    """What a person needs besides the dashboard's address, if anything."""
    kept = environment.get(MODE, "").lower() == "token" and not environment.get(TOKEN)
    return "; `ray get-auth-token` prints its token" if kept else ""


def _keep_private(file: Path) -> None:
    """A token of 256 bits for its owner alone; one that is there stays, closed to others."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        # Never through a link, and never readable by others, not even for a moment.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as new:
            new.write(secrets.token_hex(32))
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        file.chmod(0o600)


def _tell_ray() -> None:
    """Ray reads its variables when it is first imported, which may have been long ago."""
    import ray

    raylet: Any = ray._raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
