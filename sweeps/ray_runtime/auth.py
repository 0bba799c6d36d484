"""Access to a Ray that we start: only for those who can read a token file of their own.

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


def require_token(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Make the Ray that is started next ask for a token, and provide one.

    Returns a warning when the owner wants this Ray open, or when no token file can be written: then
    only this process has the token.
    """
    if environment.setdefault(MODE, "token").lower() != "token":
        return (
            f"{MODE}={environment[MODE]}: whoever reaches the ports of this Ray can run any code; "
            f"unset {MODE} to have it ask for a token"
        )
    warning = None
    if not environment.get(TOKEN):
        file = Path(environment.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")
        try:
            _write_private_token(file)
        except OSError as error:
            environment[TOKEN] = secrets.token_hex(32)
            warning = (
                f"{file}: cannot hold a token ({error.strerror}), so you cannot open the dashboard of "
                f"this Ray; set {TOKEN_PATH} to a file that can be written"
            )
    _reload_settings_in_ray()
    return warning


def token_hint(environment: Mapping[str, str] = os.environ) -> str:
    """Return what a person needs besides the dashboard's address: how to print the token, or ""."""
    in_file = environment.get(MODE, "").lower() == "token" and not environment.get(TOKEN)
    return "; `ray get-auth-token` prints its token" if in_file else ""


def _write_private_token(file: Path) -> None:
    """Write a token of 256 bits that only its owner can read. An existing one stays, closed to
    others."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        # Never through a link, and never readable by others, not even for a moment.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as new:
            new.write(secrets.token_hex(32))
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        file.chmod(0o600)


def _reload_settings_in_ray() -> None:
    """Make Ray read its variables again: it does so when first imported, perhaps long ago."""
    import ray

    raylet: Any = ray._raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
