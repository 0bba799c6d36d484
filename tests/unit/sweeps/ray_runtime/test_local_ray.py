"""A Ray of this machine is joined only if the file that names it and what listens are this user's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sweeps.ray_runtime.local_ray import LocalRay, _parse, find_local_ray, private_ray_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user, which needs root")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net/tcp of Linux")
NOBODY = 65534


@contextmanager
def listening(user: int | None = None, host: str = "127.0.0.1") -> Iterator[str]:
    """Something that listens on this machine, as another user if asked for; gives host:port."""
    program = (
        "import os, socket, sys\n"
        f"{'' if user is None else f'os.setuid({user})'}\n"
        f"server = socket.create_server(({host!r}, 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.communicate()


def naming(folder: Path, address: str) -> Path:
    file = folder / "ray_current_cluster"
    file.write_text(address)
    file.chmod(0o644)
    return file


@on_linux
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_ray_of_ones_own_is_joined(tmp_path: Path, host: str) -> None:
    with listening(host=host) as address:
        assert find_local_ray(naming(tmp_path, address)) == LocalRay(address)


def test_without_a_file_or_with_what_has_ended_there_is_none(tmp_path: Path) -> None:
    assert find_local_ray(tmp_path / "absent") == LocalRay(None)
    with listening() as address:
        pass
    assert find_local_ray(naming(tmp_path, address)) == LocalRay(None)


@pytest.mark.parametrize("content", ["", "nonsense", "127.0.0.1:99999999", "127.0.0.1:", "\0:1"])
def test_nonsense_names_no_ray(tmp_path: Path, content: str) -> None:
    assert find_local_ray(naming(tmp_path, content)).address is None


@as_root
def test_a_strangers_file_names_a_ray_of_ones_own(tmp_path: Path) -> None:
    with listening() as address:
        file = naming(tmp_path, address)
        os.chown(file, NOBODY, NOBODY)
        assert find_local_ray(file) == LocalRay(None, f"{file} belongs to another user")


@as_root
@on_linux
def test_a_file_of_ones_own_names_a_port_that_a_stranger_listens_on_now(tmp_path: Path) -> None:
    with listening(NOBODY) as address:
        ray = find_local_ray(naming(tmp_path, address))
    assert ray.address is None
    assert ray.refused
    assert address in ray.refused
    assert "not served by a program of yours" in ray.refused


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o777])
def test_a_file_that_others_can_change_is_refused(tmp_path: Path, mode: int) -> None:
    with listening() as address:
        file = naming(tmp_path, address)
        file.chmod(mode)
        assert find_local_ray(file) == LocalRay(None, f"{file} can be changed by other users")


def test_a_link_is_refused(tmp_path: Path) -> None:
    with listening() as address:
        link = tmp_path / "link"
        link.symlink_to(naming(tmp_path, address))
        refused = find_local_ray(link).refused
    assert refused
    assert "is a link" in refused


@on_linux
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")]
)
def test_the_kernels_table_is_read(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        server.listen()
        table = Path("/proc/net/tcp6" if family == socket.AF_INET6 else "/proc/net/tcp")
        lines = table.read_text().splitlines()[1:]
        [(address, owner)] = _parse(lines, server.getsockname()[1])
    assert (str(address), owner) == (host, os.geteuid())


def test_sessions_are_in_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    folder = Path(private_ray_folder())
    assert folder.stat().st_mode & 0o777 == 0o700
    session = "session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
    assert len(os.fsencode(folder / session)) <= 107
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("long" * 20)))
    Path(tmp_path / ("long" * 20)).mkdir()
    short = Path(private_ray_folder())
    assert short.stat().st_mode & 0o777 == 0o700
    assert len(os.fsencode(short / session)) <= 107
    short.rmdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert private_ray_folder() == str(tmp_path)
