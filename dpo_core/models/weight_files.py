"""Weights in safetensors files, read and written tensor by tensor: a model need not fit into memory.

Tested in tests/unit/dpo_core/models/test_merge.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

MODEL_FILE, ADAPTER_FILE = "model.safetensors", "adapter_model.safetensors"
_SHARD_BYTES = 4 * 2**30


class WeightFiles:
    """The tensors of a model's folder, in one safetensors file or in several."""

    def __init__(self, folder: Path, file: str = MODEL_FILE) -> None:
        """Read the names of the tensors.

        Args:
            folder: The folder of the model.
            file: The file with the tensors; where there is none, an index beside it names several.

        Raises:
            FileNotFoundError: There are neither.
        """
        index = folder / f"{file}.index.json"
        if (folder / file).is_file() or not index.is_file():
            self._file_of = dict.fromkeys(_names(folder / file), folder / file)
        else:
            # Transformers loads all tensors of the files, also those that the index does not name.
            parts = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            self._file_of = {name: folder / p for p in parts for name in _names(folder / p)}

    @property
    def names(self) -> list[str]:
        """Return the names of all tensors, in the order of the files."""
        return list(self._file_of)

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def read(self, name: str) -> Tensor:
        """Read one tensor into main memory."""
        with safe_open(self._file_of[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    @cached_property
    def outlines(self) -> dict[str, Tensor]:
        """Return every tensor's shape and dtype, as a tensor without data."""
        outlines: dict[str, Tensor] = {}
        for path in dict.fromkeys(self._file_of.values()):
            with safe_open(path, framework="pt") as file:
                parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                outlines |= {name: _outline(part) for name, part in parts.items()}
        return {name: outlines[name] for name in self._file_of}

    @property
    def main_dtype(self) -> torch.dtype:
        """Return the dtype of most numbers."""
        numbers: Counter[torch.dtype] = Counter()
        for outline in self.outlines.values():
            numbers[outline.dtype] += outline.numel()
        return numbers.most_common(1)[0][0]


def write_weights(
    folder: Path, outlines: Mapping[str, Tensor], compute: Callable[[str], Tensor]
) -> None:
    """Write tensors as transformers reads them: one file, or several and an index.

    Args:
        folder: The folder of the model.
        outlines: Shape and dtype of every tensor, without data.
        compute: Returns a tensor by its name; called once for each, file by file.
    """
    shards = split_torch_state_dict_into_shards(
        dict(outlines),
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=_SHARD_BYTES,
    )
    for file, names in shards.filename_to_tensors.items():
        save_file({n: compute(n).contiguous() for n in names}, folder / file, {"format": "pt"})
    if shards.is_sharded:
        index = {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename}
        (folder / f"{MODEL_FILE}.index.json").write_text(json.dumps(index, indent=2))


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as content:
        return list(content.keys())


def _outline(part: Any) -> Tensor:
    return torch.empty(part.get_shape(), dtype=_DTYPES[part.get_dtype()], device="meta")


# The names that safetensors files have for PyTorch's dtypes.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
