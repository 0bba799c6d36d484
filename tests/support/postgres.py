"""A real PostgreSQL on loopback, for as long as a test session needs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

USER = "sweeper"


@dataclass(frozen=True)
class Server:
    """`url` as a config may hold it; the password goes into PGPASSWORD."""

    port: int
    password: str
    folder: Path
    binaries: Path

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def control(self, *command: str) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        call = [self.binaries / "pg_ctl", "-D", self.folder / "data", "-w", "-o", options]
        run([*map(str, call), "-l", str(self.folder / "log"), *command])


def find_binaries() -> Path | None:
    """The folder of initdb, which Debian keeps off the PATH."""
    on_path = shutil.which("initdb")
    found = [Path(on_path), *()] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextlib.contextmanager
def running(binaries: Path, password: str) -> Iterator[Server]:
    """A new database cluster that asks for `password`, gone afterwards."""
    # Another user than root runs it, who may not enter the private folder of the session.
    folder = Path(tempfile.mkdtemp(prefix="dpo-sweeps-pg-", dir="/tmp"))
    server = Server(_free_port(), password, folder, binaries)
    try:
        (folder / "password").write_text(password)
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            run(["chown", "-R", "postgres", str(folder)], as_postgres=False)
        how = [f"--username={USER}", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256"]
        how += ["--locale=C", "--encoding=UTF8"]
        run([str(binaries / "initdb"), "-D", str(folder / "data"), "--no-sync", *how])
        server.control("start")
        try:
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):  # a test may have stopped it
                server.control("stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: Sequence[str], *, as_postgres: bool = True) -> None:
    if as_postgres and os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the server inherits it: a pipe would never end
        stderr=subprocess.DEVNULL,
        cwd="/",
        timeout=120,
    )
    done.check_returncode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
