"""A Ray of this machine is joined only if it is this user's own: what a Ray returns runs here.

`ray start` writes its address to a file in a folder that everybody can write to, so the file may be
anybody's. And a file of this user may name a port that somebody else listens on now. A local Ray is
joined only if the file and the program that listens are both this user's.

Linux says in /proc/net/tcp whose each listening socket is (proc(5)). Elsewhere nothing says so, and a
local Ray is joined only where RAY_ADDRESS names it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dpo_core.storage.private_tmp import (
    locked_folder,
    own_folder,
    private_tmp_folder,
    temporary_folder,
)
from sweeps.ray_runtime.listeners import host_and_port, why_silent

_PROC_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS = "0A"
_LITTLE = sys.byteorder == "little"
# A socket's path has at most 107 bytes, of which Ray's own part takes up to 69.
_LONGEST_FOLDER = 38
_LIKE_THAT_OF_A_RUN = "abc2345/ray"


@dataclass(frozen=True)
class LocalRay:
    """The Ray that the address file of `ray start` names, or the reason not to join it."""

    address: str | None
    """host:port of a Ray that is this user's; None where there is none to join."""
    refused: str | None = None
    """Why a Ray that the file names is not joined; None where it names none."""


def find_local_ray(file: Path | None = None) -> LocalRay:
    """Look for a Ray that this user started on this machine with `ray start`.

    Args:
        file: The address file; None is Ray's own.

    Returns:
        The Ray, or why there is none to join. One that has ended is none, whoever's it was.
    """
    file = file or _address_file()
    try:
        status = file.lstat()
    except OSError:
        return LocalRay(None)
    if (reason := _not_private(status)) is not None:
        return LocalRay(None, f"{file} {reason}")
    address = _read(file)
    host, port = host_and_port(address)
    if port is None or why_silent(host, port, 2) is not None:
        return LocalRay(None)
    if not _listens_here(host, port, os.geteuid()):
        return LocalRay(None, f"{address}, which {file} names, is not served by a program of yours")
    return LocalRay(address)


@contextlib.contextmanager
def private_ray_folder() -> Iterator[str]:
    """Yield a folder that this user alone can reach, for the session of a Ray that is started here.

    Ray's own, /tmp/ray, may belong to another user, whom it lets change everything and who makes a
    Ray of ours fail. Ray lets everybody change the folder that it gets, too, so it gets one inside of
    a private one. It is removed after the block. A folder of RAY_TMPDIR is taken as
    it is, and stays.

    Raises:
        SettingsError: Another user has made the private folder first.
    """
    chosen = os.environ.get("RAY_TMPDIR")
    if chosen:
        yield chosen
        return
    own = own_folder()
    if own is not None and _is_short(own / "ray") and not (own / "ray").exists():
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, own / "ray", ignore_errors=True)
            yield str(own / "ray")
        return
    # Ray sends a job's driver to the Ray that was started last in the same folder.
    private = private_tmp_folder()
    if not _is_short(private / _LIKE_THAT_OF_A_RUN):
        private = private_tmp_folder(Path("/tmp"))
    with locked_folder(private) as folder:
        yield str(folder / "ray")


def _is_short(folder: Path) -> bool:
    return len(os.fsencode(folder)) <= _LONGEST_FOLDER


def _address_file() -> Path:
    """Return the file of `ray start`, which knows nothing of the TMPDIR of this run."""
    from ray._common.utils import get_ray_address_file

    folder = os.environ.get("RAY_TMPDIR") or temporary_folder()
    return Path(get_ray_address_file(os.path.join(folder, "ray")))


def _not_private(status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "is a link or no file, so anybody may have chosen what it names"
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    if stat.S_IMODE(status.st_mode) & 0o022:
        return "can be changed by other users"
    return None


def _read(file: Path) -> str:
    """Return the content of a file, opened without following a link that has taken its place."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, errors="replace") as text:
        return text.read(300).strip()


def _listens_here(host: str, port: int, user: int) -> bool:
    """Return whether all that listens on this port of this machine, for this host, is the user's."""
    addresses = _addresses(host)
    if not addresses:
        return False
    owners = {
        owner
        for listener, owner in _listeners(port)
        if listener.is_unspecified or listener in addresses
    }
    return owners == {user}


def _addresses(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {_unmapped(str(entry[4][0])) for entry in entries}


def _listeners(
    port: int,
) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    """Yield the address and the owner of each socket that listens on the port of this machine."""
    for table in filter(Path.exists, _PROC_TABLES):
        yield from _parse(table.read_text().splitlines()[1:], port)


def _parse(
    lines: Iterable[str], port: int
) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    """Yield address and owner of the listening sockets of a table of /proc/net."""
    for line in lines:
        _, local, _, state, _, _, _, owner, *_ = line.split()
        host, _, listened = local.partition(":")
        if state == _LISTENS and int(listened, 16) == port:
            # The kernel prints each 32 bits in the machine's own order.
            words = [bytes.fromhex(host[i : i + 8]) for i in range(0, len(host), 8)]
            in_order = b"".join(word[::-1] for word in words) if _LITTLE else b"".join(words)
            yield _unmapped(str(ipaddress.ip_address(in_order))), int(owner)


def _unmapped(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address, an IPv4 one also where it is written as IPv6."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
