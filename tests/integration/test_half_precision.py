"""Whole sweeps of a model in bfloat16, whose held-out pairs are scored in either precision."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.run_dir.outcome_files import stored_evaluations
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared, read_encoded, read_reference
from tests.support.driving import records_in, write_sweep
from tests.support.in_process import command

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("in_process")]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_policy_and_reference_are_scored_in_one_precision(
    toy_model: Path, pairs_file: Path, tmp_path: Path, dtype: str
) -> None:
    path = write_sweep(tmp_path, toy_model, pairs_file, search={"trials": 1})
    wanted = "float32" if dtype == "float32" else "model"
    overrides = "model.dtype=bfloat16", f"selection.score_dtype={wanted}"
    options = [argument for each in overrides for argument in ("--set", each)]
    done = command("run", str(path), "--id", "half", *options)
    assert done.returncode in (0, 4), done.stderr
    folder = tmp_path / "runs" / "half"
    assert [r.status for r in records_in(folder)] == ["finished"]

    paths = SweepPaths.of_folder(str(folder))
    prepared = Prepared.read(paths)
    assert prepared.score_dtype == dtype
    assert (prepared.margin_noise > 0) is (dtype == "bfloat16")
    assert f"held-out pairs are scored in {dtype}" in done.stderr + done.stdout
    assert f"held-out scores: {dtype}" in (folder / "report" / "report.md").read_text()
    reference = read_reference(paths, prepared, "select", read_encoded(paths, "select"))
    for _, outcomes in stored_evaluations(paths, "t0000"):
        assert outcomes.tie_nats == 1e-4
        assert outcomes.ref_chosen_logp.tolist() == reference["chosen"].tolist()
