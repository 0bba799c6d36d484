"""A `best/` with its manifest, written without a model."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sweeps.run_dir import json_files
from sweeps.run_dir.exported import MANIFEST, ExportedJson, ExportedModel
from sweeps.run_dir.paths import SweepPaths


def write_best(
    paths: SweepPaths, trial: str, step: int, asked_dtype: str | None = "auto"
) -> ExportedJson:
    """Write files under the names that an export writes, and return their manifest."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "best"
        (folder / "adapter").mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
            (folder / name).write_text(f"weights of {trial} at step {step}")
        files = ExportedModel.digests_of(folder)
        manifest: ExportedJson = {
            "trial": trial,
            "step": step,
            "asked_dtype": asked_dtype,
            "margins": {"dtype": "float32", "chosen": 2.0, "stored": 2.0, "lost": 0.0},
            "rejected": None,
            "files": files,
        }
        (folder / MANIFEST).write_bytes(json_files.EXPORTED.encode(manifest))
        paths.store.upload(folder, paths.best, last=MANIFEST)
    return manifest
