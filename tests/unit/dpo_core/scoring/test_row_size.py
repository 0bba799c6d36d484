"""Rows grow while that pays, and an estimate must fit the usable share of the memory."""

from __future__ import annotations

import contextlib

import pytest
import torch

from dpo_core.scoring import row_size as module
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


def test_the_memory_of_this_machine() -> None:
    assert 2**28 < device_bytes("cpu") < 2**50
    assert fits(79, 100)
    assert not fits(81, 100)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_measured() -> None:
    model = toy_llama().cuda()
    rows = measured_row_tokens(model, toy_encoded(8), contextlib.nullcontext, 0)
    assert rows >= 512
