"""A Ray of this machine is joined only if the file that names it and what listens are this user's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from dpo_core.storage.private_tmp import own_folder, own_tmp_folder
from sweeps.ray_runtime.local_ray import (
    LocalRay,
    _address_file,
    _parse,
    find_local_ray,
    private_ray_folder,
)

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


LONGEST_SOCKET = "session_2026-12-31_23-59-59_999999_4194304/sockets/dash_MetricsHead"


@pytest.mark.parametrize("is_run", [True, False])
@pytest.mark.parametrize("length", [0, 80])
def test_sessions_are_in_a_private_folder_with_short_names(
    is_run: bool, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / ("x" * length) if length else Path("/tmp")
    temporary.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with own_tmp_folder() if is_run else nullcontext(), private_ray_folder() as name:
        folder = Path(name)
        assert folder.parent.stat().st_mode & 0o777 == 0o700, "Ray opens its own to everybody"
        assert len(os.fsencode(folder / LONGEST_SOCKET)) <= 107
        assert (folder.parent == own_folder()) == (is_run and not length)
        folder.mkdir()
    assert not folder.parent.exists()


def test_a_folder_of_ones_choice_is_taken_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with private_ray_folder() as folder:
        assert folder == str(tmp_path)
    assert tmp_path.exists()


def test_the_address_file_is_where_ray_start_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._common.utils import get_ray_address_file

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for variable in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
        of_ray = Path(get_ray_address_file(None))
        with own_tmp_folder():
            assert _address_file() == of_ray
