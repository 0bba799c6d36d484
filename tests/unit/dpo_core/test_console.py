"""The start of the command, where another package is called `sweeps` too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.repository import ROOT

START = "import sys; sys.argv = ['dpo-sweeps', '--help']; from dpo_core.console import main; main()"


def start(*first_on_the_path: Path) -> subprocess.CompletedProcess[str]:
    paths = ":".join(map(str, (*first_on_the_path, ROOT)))
    return subprocess.run(
        [sys.executable, "-c", START],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": paths, "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
    )


def test_it_runs_the_command_line() -> None:
    done = start()
    assert done.returncode == 0, done.stderr
    assert "nightly" in done.stdout


def test_a_foreign_package_is_named_with_the_way_out(tmp_path: Path) -> None:
    """As pip leaves W&B's: a package without our modules, and its metadata."""
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "__init__.py").write_text("raise ImportError('not what you want')")
    about = tmp_path / "sweeps-0.2.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sweeps\nVersion: 0.2.0\n")
    done = start(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: the package sweeps 0.2.0 (of Weights & Biases) is installed"
    )
    assert "pip uninstall -y sweeps" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_extra_for_wandb_does_not_pull_it() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert "wandb[sweeps]" not in project
