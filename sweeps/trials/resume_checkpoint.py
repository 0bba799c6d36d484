"""The checkpoint from which a trial goes on after a death or a kill.

Tested in tests/unit/sweeps/run_dir/test_torn_files.py and in tests/integration/test_kills.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.ray_runtime.lane_messages import TrialJob
from sweeps.run_dir.outcome_files import stored_evaluations
from sweeps.run_dir.paths import SweepPaths


@contextmanager
def newest_checkpoint(paths: SweepPaths, job: TrialJob) -> Iterator[Path | None]:
    """Provide a trial's newest whole checkpoint as a local folder, or None for a fresh start.

    A kill between a checkpoint and its outcomes leaves the first without the second; such a step is
    trained again, or its evaluation would be missing from the ledger. A checkpoint of another point
    or seed under the same name is not this trial's.
    """
    with tempfile.TemporaryDirectory(prefix="dpo-sweeps-") as scratch:
        yield _download_newest(paths, job, Path(scratch))


def _download_newest(paths: SweepPaths, job: TrialJob, scratch: Path) -> Path | None:
    from dpo_core.training.checkpoints import read_manifest

    evaluated = {metadata["step"] for metadata, _ in stored_evaluations(paths, job.trial)}
    for step in reversed(paths.checkpoint_steps(job.trial)):
        if step not in evaluated:
            continue
        folder = paths.store.download(paths.checkpoint(job.trial, step), scratch / str(step))
        try:
            manifest = read_manifest(folder)
        except (OSError, ValueError):
            continue
        if (manifest["point"], manifest["seed"]) == (dict(job.point), job.seed):
            return folder
    return None
