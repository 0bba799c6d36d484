"""A model whose files change after a sweep was prepared: the sweep ends at once, and can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps import sweep
from tests.support.driving import records_in, write_sweep
from tests.support.in_process import command
from tests.support.toys import save_toy_model

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("place")]


def test_a_model_that_changed_ends_the_sweep_and_fails_no_trial(
    pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_toy_model(tmp_path / "model")
    path = write_sweep(tmp_path, model, pairs_file, search={"trials": 2})
    folder = tmp_path / "runs" / "changed"
    search = sweep._search

    def with_other_weights(*arguments: Any) -> Any:
        save_toy_model(model, seed=1)
        return search(*arguments)

    monkeypatch.setattr(sweep, "_search", with_other_weights)
    done = command("run", str(path), "--id", "changed")
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert f"the files of {model} have changed since the sweep was prepared" in last
    assert "put the old ones back" in last
    assert "Traceback" not in done.stderr
    assert not records_in(folder), "no trial has failed"
    assert not list(folder.glob("failures/*"))

    monkeypatch.setattr(sweep, "_search", search)
    save_toy_model(model)
    done = command("resume", str(folder))
    assert done.returncode == 0, done.stderr
    assert [r.status for r in records_in(folder)] == ["finished"] * 2
