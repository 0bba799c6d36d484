"""The reason of a failure, as the ledger tells it."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
import torch.distributed

from dpo_core.errors import SettingsError, StorageError, TrialFailed
from dpo_core.storage.store import Store
from sweeps.ray_runtime.failures import (
    first_worker_error,
    raise_error_of_sweep,
    read_failure,
    reason_and_detail,
    record_failure,
)
from sweeps.run_dir.paths import SweepPaths

# What torch 2.13 really says, on a CPU (a request beyond all memory) and on a GPU.
CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 256000000000 bytes. Error code 12 (Cannot allocate memory)"
)
GPU = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError(CPU), "out of memory"),
        (RuntimeError(GPU), "out of memory"),
        (MemoryError(), "out of memory"),
        (TrialFailed("nan", "the training loss is nan at step 3"), "nan"),
        (SettingsError("lora_rank: 0 must be above 0"), "settings"),
        (ZeroDivisionError("division by zero"), "exception"),
    ],
)
def test_kinds(error: Exception, reason: str) -> None:
    assert reason_and_detail(error)[0] == reason


def test_what_died_elsewhere_is_no_failure_of_the_trial(tmp_path: Path) -> None:
    paths = SweepPaths(Store.open(tmp_path), "sweep")
    closed = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"
    for error in (
        ray.exceptions.ActorDiedError(),
        ray.exceptions.WorkerCrashedError(),
        torch.distributed.DistNetworkError("failed to recv"),
        RuntimeError(closed),
    ):
        record_failure(paths, "t0000", error)
        assert read_failure(paths, "t0000") is None, error
    record_failure(paths, "t0000", RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert read_failure(paths, "t0000") is not None


def test_the_detail_is_one_line() -> None:
    assert reason_and_detail(ValueError("first\nsecond"))[1] == "ValueError: first"


def test_what_a_worker_writes_down_is_what_others_read(tmp_path: Path) -> None:
    paths = SweepPaths(Store.open(tmp_path), "sweep")
    assert read_failure(paths, "t0000") is None
    try:
        raise TrialFailed("nan", "the training loss is nan at step 3")
    except TrialFailed as error:
        record_failure(paths, "t0000", error)
    known = read_failure(paths, "t0000")
    assert known is not None
    assert (known["reason"], known["detail"]) == ("nan", "the training loss is nan at step 3")
    assert "TrialFailed" in known["traceback"]


def test_no_secret_gets_into_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "cAnArY-in-the-environment")
    paths = SweepPaths(Store.open(tmp_path), "sweep")
    try:
        raise OSError("https://me:cAnArY-in-a-url@hub/x with cAnArY-in-the-environment refused")
    except OSError as error:
        record_failure(paths, "t0000", error)
    written = paths.store.read(paths.failure("t0000")).decode()
    assert "cAnArY" not in written, "the line of the traceback that shows this test included"
    assert read_failure(paths, "t0000")["detail"] == "OSError: https://***@hub/x with *** refused"
    assert (
        "cAnArY" not in reason_and_detail(TrialFailed("exception", "token=cAnArY-in-a-detail"))[1]
    )


def test_a_worker_that_died_of_its_storage_has_not_failed(tmp_path: Path) -> None:
    """What the worker raised comes through Ray Train and Tune as text, and ends the sweep."""
    from ray.train.v2.api.exceptions import WorkerGroupError

    paths = SweepPaths(Store.open(tmp_path), "sweep")
    full = StorageError("runs: is full ([Errno 28] No space left on device); make room")
    record_failure(paths, "t0000", full)
    assert read_failure(paths, "t0000") is None
    died = first_worker_error(WorkerGroupError("[Rank 0 Error Snippet]: ...", {0: full}))
    assert died is full
    told = f"Failure # 1\nray::ImplicitFunc.train()\n  {reason_and_detail(died)[1]}\n"
    with pytest.raises(StorageError, match=r"^runs: is full .*make room$"):
        raise_error_of_sweep(told)
    raise_error_of_sweep("Failure # 1\nTrialFailed: nan: the training loss is nan at step 3")
