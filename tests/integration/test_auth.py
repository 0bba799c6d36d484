"""Who is let in: by the Ray that a sweep starts, and by the one of this test session."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.ray_runtime import auth as access
from tests.support.cluster import answer
from tests.support.repository import ROOT


@pytest.fixture(autouse=True)
def quiet_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own cache of this process's token belongs to the session's cluster."""
    monkeypatch.setattr(access, "_tell_ray", lambda: None)


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_token_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "token"
    environment = {access.TOKEN_PATH: str(file)}
    assert access.ask_for_token(environment) is None
    assert environment[access.MODE] == "token", "explicit, for the processes that Ray starts"
    assert (mode_of(file), mode_of(file.parent)) == (0o600, 0o700)
    assert len(bytes.fromhex(file.read_text())) == 32


def test_a_token_that_is_there_stays_and_is_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a token that Ray wrote")
    file.chmod(0o644)
    access.ask_for_token({access.TOKEN_PATH: str(file)})
    assert (file.read_text(), mode_of(file)) == ("a token that Ray wrote", 0o600)


def test_no_file_is_written_for_a_token_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    access.ask_for_token({access.TOKEN: "given", access.TOKEN_PATH: str(file)})
    assert not file.exists()


def test_an_open_cluster_is_its_owners_choice_and_is_warned_about(tmp_path: Path) -> None:
    environment = {access.MODE: "disabled", access.TOKEN_PATH: str(tmp_path / "token")}
    warning = access.ask_for_token(environment)
    assert warning is not None
    assert "RAY_AUTH_MODE=disabled" in warning
    assert not (tmp_path / "token").exists()


def test_without_a_place_for_the_token_it_lives_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {access.TOKEN_PATH: str(tmp_path / "file" / "token")}
    warning = access.ask_for_token(environment)
    assert warning is not None
    assert "no token can be kept there" in warning
    assert (environment[access.MODE], len(environment[access.TOKEN])) == ("token", 64)
    assert environment[access.TOKEN] not in warning


def test_a_person_is_told_how_to_get_the_token_but_never_the_token() -> None:
    assert "ray get-auth-token" in access.how_to_enter({access.MODE: "token"})
    assert access.how_to_enter({access.MODE: "token", access.TOKEN: "given"}) == ""
    assert access.how_to_enter({}) == ""


PAGES = ("/api/jobs/", "/api/v0/actors", "/api/cluster_status", "/nodes?view=summary")


@pytest.mark.ray
@pytest.mark.parametrize("page", PAGES)
def test_the_dashboard_wants_the_right_token(ray_cluster: str, page: str) -> None:
    right = os.environ["RAY_AUTH_TOKEN"]
    given = {token: answer(ray_cluster + page, token) for token in (None, "f" * 64, right)}
    assert given == {None: 401, "f" * 64: 403, right: 200}


STARTS_A_RAY = f"""
import os, stat, sys
from pathlib import Path
import ray  # before the token exists, as a library may
sys.path.insert(0, {str(ROOT)!r})
from sweeps.ray_runtime.connect import connected, dashboard_url
from tests.support.cluster import answer
with connected():
    file = Path.home() / ".ray" / "auth_token"
    page = dashboard_url() + "/api/jobs/"
    print("answers", *(answer(page, token) for token in (None, "f" * 64, file.read_text())))
    print("mode", oct(stat.S_IMODE(file.stat().st_mode)), dashboard_url().split("//")[1][:9])
"""


@pytest.mark.ray
def test_the_ray_that_a_sweep_starts_wants_a_token(tmp_path: Path) -> None:
    """In a home of its own, on a machine where another Ray may run: RAY_ADDRESS=local asks for one."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", STARTS_A_RAY],
        capture_output=True,
        text=True,
        timeout=180,
        env=environment,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith(("answers", "mode"))]
    assert told == ["answers 401 403 200", "mode 0o600 127.0.0.1"], done.stderr
