"""What travels to a cluster: what git tracks or what a sweep needs, and never a key."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import SettingsError
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.jobs import upload
from sweeps.jobs.upload import choose_files

KEYS = [
    *("id_rsa", "id_ed25519", ".pgpass", ".git-credentials", ".pypirc", ".npmrc", ".netrc"),
    *(".kube/config", ".docker/config.json", ".ssh/known_hosts", ".aws/credentials"),
    *("server.pem", "server.p12", "prod.env", ".env", ".env.local", ".ray/auth_token"),
    *("terraform.tfstate", "terraform.tfstate.backup", "prod.tfvars"),
]
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----"
ACCOUNT = '{"type": "service_account", "project_id": "p"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        *(
            "sweep.yaml",
            "pairs.jsonl",
            "other.jsonl",
            "code/loss.py",
            "notes.txt",
            "sub/pairs.jsonl",
        ),
        *("sweeps/demo/pharmacy.jsonl", "my-env/pyvenv.cfg", "my-env/lib/x.py", "__pycache__/a.py"),
        *("runs/a/ledger.jsonl", "runs/a/config.yaml", "model/model.safetensors", ".cache/a.py"),
    ):
        write(tmp_path, name)
    return tmp_path


def write(folder: Path, name: str, text: str = "x") -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def config(**data: Any) -> SweepConfig:
    data = data or {"path": "pairs.jsonl"}
    return parse_sweep(
        f"name: hh\nmodel: {{path: m}}\ndata: {data}\nspace: lora\ntraining: {{max_steps: 1}}\n",
        source="sweep.yaml",
    )


def chosen(folder: Path, sweep: SweepConfig | None = None, **patterns: Any) -> set[str]:
    return set(map(str, choose_files(folder, sweep or config(), "sweep.yaml", **patterns).files))


def track(folder: Path, *names: str) -> None:
    for command in (["init", "-q"], ["add", "-f", *names]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)


def test_without_git_code_yaml_and_the_named_data_travel(folder: Path) -> None:
    needed = {"sweep.yaml", "pairs.jsonl", "code/loss.py", "sweeps/demo/pharmacy.jsonl"}
    assert chosen(folder) == needed
    assert chosen(folder, config(path="sub")) == needed - {"pairs.jsonl"} | {"sub/pairs.jsonl"}
    assert chosen(folder, config(path="/data/pairs.jsonl")) == needed - {"pairs.jsonl"}
    assert chosen(folder, config(path="../pairs.jsonl")) == needed - {"pairs.jsonl"}


def test_a_checkout_sends_what_git_tracks_and_what_the_config_names(folder: Path) -> None:
    track(folder, "notes.txt", "code/loss.py", "model/model.safetensors", "runs/a/config.yaml")
    assert chosen(folder) == {"notes.txt", "code/loss.py", "sweep.yaml", "pairs.jsonl"}


def test_more_can_travel_and_less(folder: Path) -> None:
    assert {"notes.txt", "other.jsonl"} <= chosen(folder, include=["notes.txt", "*.jsonl"])
    assert "code/loss.py" not in chosen(folder, exclude=["code/"])
    assert "code/loss.py" not in chosen(folder, exclude=["*.py"])


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("name", KEYS)
def test_a_key_never_travels(folder: Path, name: str, tracked: bool) -> None:
    write(folder, f"deep/{name}")
    if tracked:
        track(folder, f"deep/{name}")
    assert f"deep/{name}" not in chosen(folder)
    assert f"deep/{name}" not in chosen(folder, config(path="deep"))


@pytest.mark.parametrize(("name", "text"), [("deploy.yaml", PRIVATE), ("account.json", ACCOUNT)])
def test_a_key_under_another_name_neither(folder: Path, name: str, text: str) -> None:
    write(folder, name, text)
    track(folder, name)
    assert name not in chosen(folder)
    with pytest.raises(SettingsError, match=rf"^--include: {name} looks like a key"):
        chosen(folder, include=[name])


def test_weights_and_runs_are_refused_by_name(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"model\.safetensors looks like weights of a model"):
        chosen(folder, include=["model"])
    with pytest.raises(SettingsError, match=r"no file in .* matches runs"):
        chosen(folder, include=["runs"])


def test_a_link_out_of_the_folder_stays(folder: Path, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.py"
    outside.write_text("x")
    (folder / "link.py").symlink_to(outside)
    assert "link.py" not in chosen(folder)


def test_names_that_only_resemble_keys_travel(folder: Path) -> None:
    for name in ("id_mapping.py", "environment.yaml", "tokens.py", "keys.yaml"):
        write(folder, name)
        assert name in chosen(folder)


def test_the_staged_folder_holds_these_files_and_nothing_else(folder: Path) -> None:
    travels = choose_files(folder, config(), "sweep.yaml")
    with travels.staged() as staged:
        there = {str(p.relative_to(staged)) for p in staged.rglob("*") if p.is_file()}
        assert there == set(map(str, travels.files))
    assert not staged.exists()


def test_too_much_is_told_with_the_largest_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "pairs.jsonl", "x" * 3 * 2**20)
    monkeypatch.setattr(upload, "MOST_BYTES", 2**20)
    with (
        pytest.raises(SettingsError, match=r"3 MiB would be uploaded.*pairs\.jsonl \(3 MiB\)"),
        choose_files(folder, config(), "sweep.yaml").staged(),
    ):
        pass
