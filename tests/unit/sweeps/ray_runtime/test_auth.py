"""The token of a Ray that is started here: made once, for its owner alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sweeps.ray_runtime import auth


@pytest.fixture(autouse=True)
def quiet_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own cache of this process's token belongs to the session's cluster."""
    monkeypatch.setattr(auth, "_reload_settings_in_ray", lambda: None)


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_token_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "token"
    environment = {auth.TOKEN_PATH: str(file)}
    assert auth.require_token(environment) is None
    assert environment[auth.MODE] == "token", "explicit, for the processes that Ray starts"
    assert (mode_of(file), mode_of(file.parent)) == (0o600, 0o700)
    assert len(bytes.fromhex(file.read_text())) == 32


def test_a_token_that_is_there_stays_and_is_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a token that Ray wrote")
    file.chmod(0o644)
    auth.require_token({auth.TOKEN_PATH: str(file)})
    assert (file.read_text(), mode_of(file)) == ("a token that Ray wrote", 0o600)


def test_no_file_is_written_for_a_token_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    auth.require_token({auth.TOKEN: "given", auth.TOKEN_PATH: str(file)})
    assert not file.exists()


def test_an_open_cluster_is_its_owners_choice_and_is_warned_about(tmp_path: Path) -> None:
    environment = {auth.MODE: "disabled", auth.TOKEN_PATH: str(tmp_path / "token")}
    warning = auth.require_token(environment)
    assert warning is not None
    assert "RAY_AUTH_MODE=disabled" in warning
    assert not (tmp_path / "token").exists()


def test_without_a_place_for_the_token_it_lives_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {auth.TOKEN_PATH: str(tmp_path / "file" / "token")}
    warning = auth.require_token(environment)
    assert warning is not None
    assert "cannot hold a token" in warning
    assert (environment[auth.MODE], len(environment[auth.TOKEN])) == ("token", 64)
    assert environment[auth.TOKEN] not in warning


def test_a_person_is_told_how_to_get_the_token_but_never_the_token() -> None:
    assert "ray get-auth-token" in auth.token_hint({auth.MODE: "token"})
    assert auth.token_hint({auth.MODE: "token", auth.TOKEN: "given"}) == ""
    assert auth.token_hint({}) == ""
