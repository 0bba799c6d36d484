"""Whole sweeps and nights in this process, without Ray: all real but the trained models.

The product's own `run_sweep` prepares, records, chooses and reports. In place of Tune stands a loop
that draws points and stores made-up outcomes; in place of a worker, functions that write what a
worker leaves. With `stop=True` nothing is trained: the run ends where Tune would be started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dpo_core.errors import UserError
from dpo_core.evaluation.outcomes import Outcomes, write_outcomes
from dpo_core.training.checkpoints import write_manifest
from sweeps.config.schema import SweepConfig
from sweeps.config.strict_yaml import dump_yaml
from sweeps.finalize import export, incumbent, sample_answers
from sweeps.finalize.incumbent import Incumbent
from sweeps.run_dir import json_files, ledger
from sweeps.run_dir.exported import ExportedJson
from sweeps.run_dir.paths import SweepPaths, SweepRef
from sweeps.run_dir.prepared import read_encoded
from sweeps.search.drawn_point import DrawnPoint
from sweeps.trials.train_worker import write_node_description
from tests.support.exported_models import write_best
from tests.support.toys import LENIENT

STEPS = (2, 4, 6)
STOPS_HERE = "a trial would start here"


class Stopped(UserError):
    """Raised where Ray Tune would start a trial; a user's error, so that the command ends with 2."""


def sweep_yaml(storage: Path, model: Path, pairs: Path, **changes: Any) -> str:
    """Return the YAML of a sweep of three trials, one of whose points is confirmed."""
    tree = {
        "name": "torn",
        "storage": str(storage),
        "model": {"path": str(model), "adapter": {"rank": 4}},
        "data": {
            "path": str(pairs),
            "max_tokens": 256,
            "min_similarity": 1.0,
            "select_fraction": 0.3,
            "final_fraction": 0.4,
        },
        "space": {"beta": {"uniform": [0.05, 0.5]}, "learning_rate": 0.003, "length_norm": "none"},
        "training": {"max_steps": STEPS[-1], "batch_pairs": 4, "evaluations": len(STEPS)},
        "search": {"trials": 3},
        "selection": {**LENIENT, "sample_prompts": 2, "confirm": {"top": 1, "seeds": 1}},
    }
    return dump_yaml({**tree, **changes})


@contextmanager
def without_ray(*, stop: bool = False, killed_after: int | None = None) -> Iterator[None]:
    """Replace Ray for the length of the block.

    With `killed_after`, the search is interrupted when so many of its trials have ended, while the
    next two are under way: one has failed and is not recorded yet, one is at its second evaluation.
    """

    def fit(
        config: SweepConfig,
        paths: SweepPaths,
        callback: Any,
        searcher: Any,
        trials: int,
        *_: object,
    ) -> None:
        if stop:
            raise Stopped(STOPS_HERE)
        for number in range(trials):
            drawn = DrawnPoint(**searcher.suggest(f"tune-{number}"))
            if killed_after is not None and number == killed_after:
                leave_failure(paths, drawn)
                leave_evaluations(
                    paths, DrawnPoint(**searcher.suggest("tune-last")), STEPS[:2], skill=0.5
                )
                raise KeyboardInterrupt
            if number == 1:
                leave_failure(paths, drawn)
                callback.end(drawn, ledger.FAILED, "nan", "the loss is nan")
            else:
                leave_evaluations(paths, drawn, STEPS, skill=0.5 + number / 5)
                callback.end(drawn, ledger.FINISHED)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.sweep.connected", nullcontext)
        patch.setattr("sweeps.reselect.connected", nullcontext)
        patch.setattr("sweeps.sweep.dashboard_url", lambda: "")
        patch.setattr("ray.cluster_resources", lambda: {"CPU": 64.0})
        patch.setattr("sweeps.trials.runner.open_lanes", lambda *_: None)
        patch.setattr("sweeps.sweep.remote_call_for", lambda *_: call_here)
        patch.setattr("sweeps.reselect.remote_call_for", lambda *_: call_here)
        patch.setattr("sweeps.trials.runner._fit", fit)
        patch.setattr("sweeps.prepare.pipeline.ModelCheck.try_out", lambda *_: None)  # trains
        patch.setattr("sweeps.sweep.try_write_report", lambda *_: None)  # takes the most time
        # Statsmodels asks for a collection at every correction of p-values: a second with torch loaded.
        patch.setattr("gc.collect", lambda *_: 0)
        yield


def call_here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Do in this process what a worker would do; make up what a trained model would answer."""
    made_up: dict[Callable[..., Any], Callable[..., Any]] = {
        export.export_and_score: _export,
        incumbent._score_remotely: _score_incumbent,
        sample_answers._answer_remotely: _answer,
    }
    return made_up.get(function, function)(*arguments)


def leave_failure(paths: SweepPaths, drawn: DrawnPoint) -> None:
    """Write what a worker writes of a trial that fails after its first evaluation."""
    leave_evaluations(paths, drawn, STEPS[:1], skill=0.0)
    failure = {"reason": "nan", "detail": "the loss is nan", "traceback": "Traceback …"}
    json_files.FAILURE.write(paths.store, paths.failure(drawn.trial), failure)


def leave_evaluations(
    paths: SweepPaths, drawn: DrawnPoint, steps: tuple[int, ...], *, skill: float
) -> None:
    """Write what a worker writes at each evaluation: a checkpoint, outcomes; and its node."""
    write_node_description(paths)
    for step in steps:
        about = {"trial": drawn.trial, "point": dict(drawn.point), "seed": drawn.seed, "step": step}
        with paths.store.scratch() as scratch:
            folder = scratch / "checkpoint"
            folder.mkdir()
            weights = {"weight": torch.full((8,), float(step))}
            save_file(weights, folder / "adapter_model.safetensors")
            write_manifest(folder, about)
            paths.store.upload(folder, paths.checkpoint(drawn.trial, step), last="manifest.json")
        metadata = {"trial": drawn.trial, "step": step, "loss": 0.5, "split": "select"}
        content = write_outcomes(outcomes_of(paths, "select", skill + step / 10), metadata)
        paths.store.write(paths.outcome(drawn.trial, step), content)


def outcomes_of(paths: SweepPaths, split: str, skill: float) -> Outcomes:
    """Return outcomes of a policy that prefers the chosen answer by `skill` nats, give or take 1."""
    pairs = read_encoded(paths, split)
    noise = np.random.default_rng(len(pairs)).uniform(-1, 1, len(pairs))
    reference = -np.ones(len(pairs))
    lengths = [np.array([len(getattr(p, side)) for p in pairs]) for side in ("chosen", "rejected")]
    policy = reference + 0.1 * (skill + noise), reference
    return Outcomes(tuple(pairs.ids), *policy, reference, reference, *lengths, tie_nats=1e-4)


def _export(sweep: SweepRef, trial: str, step: int, asked_dtype: str | None) -> ExportedJson:
    paths = sweep.paths
    about = {"trial": trial, "step": step}
    if export.final_outcomes(paths, trial, step) is None:
        content = write_outcomes(outcomes_of(paths, "final", 2.0), {**about, "split": "final"})
        paths.store.write(paths.final_outcome(trial, step), content)
    return write_best(paths, trial, step, asked_dtype)


def _score_incumbent(sweep: SweepRef, incumbent: Incumbent, split: str) -> None:
    paths = sweep.paths
    about = {"incumbent": incumbent.name, "path": incumbent.path, "split": split}
    content = write_outcomes(outcomes_of(paths, split, -2.0), about)
    paths.store.write(paths.incumbent_outcome(split), content)


def _answer(sweep: SweepRef, missing: list[str], *rest: Any) -> dict[str, Any]:
    batches = rest[-2]
    row = {"text": "Ask the pharmacist.", "tokens": [5, 6, 7], "ended": True}
    return {whom: [row for batch in batches for _ in batch] for whom in missing}
