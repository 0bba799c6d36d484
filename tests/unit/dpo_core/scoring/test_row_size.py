"""Rows grow while that pays, and an estimate must fit the usable share of the memory."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dpo_core.encoding.packing import Row
from dpo_core.encoding.token_table import EncodedPair
from dpo_core.scoring import row_size as module
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.scoring.row_size import device_bytes, fastest_row, fits, measured_row_tokens
from dpo_core.settings import DEFAULT_ROW_TOKENS
from tests.support.toys import toy_encoded, toy_llama


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({512: 4.0, 1024: 3.0, 2048: 2.0, 4096: 1.99}, 2048),  # half a percent is not worth it
        ({512: 4.0, 1024: 3.0, 2048: None}, 1024),  # does not fit
        ({512: None}, 512),  # not even the first: the trial will say so
        ({512: 1.0, 1024: 2.0}, 512),
        ({512: 1.05, 1024: 1.0, 2048: 1.0}, 1024),  # five percent is worth it
    ],
)
def test_rows_grow_while_that_pays(seconds: dict[int, float | None], best: int) -> None:
    assert fastest_row(lambda tokens: seconds[tokens]) == best


def test_there_is_a_longest_row() -> None:
    assert fastest_row(lambda tokens: 1 / tokens) == 65_536


def test_a_cpu_is_not_measured() -> None:
    assert measured_row_tokens(toy_llama(), [], lambda: None, 0) == DEFAULT_ROW_TOKENS


def test_short_data_are_repeated_to_fill_a_row() -> None:
    row = module._row_of(toy_encoded(3), 500)
    assert 500 <= row.input_ids.shape[1] < 560


def test_a_row_that_is_long_enough_is_not_filled_further() -> None:
    assert module._row_of([PAIR], 512).input_ids.shape[1] == 512


def test_no_row_is_built_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"^no pairs to measure with$"):
        module._row_of([], 512)


@pytest.mark.parametrize(("estimate", "expected"), [(79, True), (80, True), (81, False)])
def test_four_fifths_of_the_memory_may_be_planned_for(estimate: int, expected: bool) -> None:
    assert fits(estimate, 100) is expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, None), ("max\n", None), ("1048576\n", 2**20), (f"{2**62}\n", None)],
)
def test_a_containers_limit_counts_where_it_is_below_the_machines_memory(
    limit: str | None, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    monkeypatch.setattr(module, "Path", {"/sys/fs/cgroup/memory.max": file}.__getitem__)
    memory = device_bytes("cpu")
    assert 2**28 < memory < 2**50 if expected is None else memory == expected


# --- a GPU, simulated -------------------------------------------------------------------------

PAIR = EncodedPair("a", tuple(range(3, 255)), (5, 6), (7, 8))  # 256 tokens: rows are full


class SimulatedGPU:
    """A GPU of 1000 bytes whose kernels run when somebody synchronizes; stands for torch.cuda.

    `seconds` and `peak_bytes` are those of a row by its tokens; a row without them does not fit.
    """

    OutOfMemoryError = torch.cuda.OutOfMemoryError

    def __init__(self, seconds: dict[int, float], peak_bytes: dict[int, int]) -> None:
        self.seconds, self.peak_bytes = seconds, peak_bytes
        self.clock = self.pending = 0.0
        self.peak = 10**6  # what ran before needed more
        self.emptied: list[int] = []
        self.tokens = 0

    def mem_get_info(self) -> tuple[int, int]:
        return 3, 1000  # free, in all

    def reset_peak_memory_stats(self) -> None:
        self.peak = 0

    def max_memory_allocated(self) -> int:
        return self.peak

    def synchronize(self) -> None:
        self.clock, self.pending = self.clock + self.pending, 0.0

    def empty_cache(self) -> None:
        self.emptied.append(self.tokens)

    def row_logps(self, model: Any, row: Row, layout: RowLayout) -> SimpleNamespace:
        assert layout is RowLayout.PACKED
        self.tokens = row.input_ids.shape[1]
        if self.tokens not in self.seconds:
            raise torch.cuda.OutOfMemoryError
        return SimpleNamespace(chosen=model.get_input_embeddings().weight)

    def backward(self, *_: Any) -> None:
        self.pending += self.seconds[self.tokens] * (1 if self.peak else 9)  # kernels are loaded
        self.peak = self.peak_bytes[self.tokens]


def fastest_on(
    gpu: SimulatedGPU, monkeypatch: pytest.MonkeyPatch, reserved_bytes: int = 300
) -> int:
    device = SimpleNamespace(type="cuda")
    weight = torch.ones(1, requires_grad=True)
    model: Any = SimpleNamespace(
        parameters=lambda: iter([SimpleNamespace(device=device)]),
        get_input_embeddings=lambda: SimpleNamespace(weight=weight),
    )
    monkeypatch.setattr(torch, "cuda", gpu)
    monkeypatch.setattr(torch.autograd, "grad", gpu.backward)
    monkeypatch.setattr(time, "perf_counter", lambda: 100 + gpu.clock)
    monkeypatch.setattr(module, "row_logps", gpu.row_logps)
    monkeypatch.setattr(Row, "to", lambda row, _: row)
    try:
        return measured_row_tokens(model, [PAIR], contextlib.nullcontext, reserved_bytes)
    finally:
        monkeypatch.undo()


def test_the_fastest_row_per_token_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {512: 5.0, 1024: 9.0, 2048: 16.0, 4096: 33.0}  # 9.8, 8.8, 7.8, 8.1 ms per token
    gpu = SimulatedGPU(seconds, dict.fromkeys(seconds, 10))
    assert fastest_on(gpu, monkeypatch) == 2048
    assert gpu.emptied == list(seconds), "the memory of each row is given back"


def test_a_row_needs_room_beside_what_is_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {512: 5.0, 1024: 5.0, 2048: 5.0}
    gpu = SimulatedGPU(seconds, {512: 100, 1024: 500, 2048: 501})  # 0.8 · 1000 − 300 = 500
    assert fastest_on(gpu, monkeypatch) == 1024


def test_a_row_that_runs_out_of_memory_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = SimulatedGPU({512: 5.0}, {512: 10})
    assert fastest_on(gpu, monkeypatch) == 512
    assert gpu.emptied == [512, 1024]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_measured() -> None:
    model = toy_llama().cuda()
    rows = measured_row_tokens(model, toy_encoded(8), contextlib.nullcontext, 0)
    assert rows >= 512
