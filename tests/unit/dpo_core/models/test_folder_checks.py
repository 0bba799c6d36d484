"""Folders of models: what small files and headers say, each problem in one line with the way out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dpo_core.errors import ModelError
from dpo_core.models.folder_checks import check_folder, tensor_names, weight_files
from tests.support.toys import save_toy_model

INDEX = "model.safetensors.index.json"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 538090408\n"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy_model(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def folder(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "toy"))


def change_json(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**content, **changes}))


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "config.json", **changes)


def write(name: str, content: bytes | str) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data) and None


def weights(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(change(file.read_bytes()))

    return apply


def tensor(name: str, dtype: torch.dtype = torch.float32) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "model.safetensors"
        content = load_file(file) | {name: torch.zeros(2, 2).to(dtype)}
        save_file(content, file, {"format": "pt"})

    return apply


def index(file: Any, tensor: str = "model.norm.weight") -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "one.safetensors")
        names = dict.fromkeys(load_file(folder / "one.safetensors"), "one.safetensors")
        change_json(folder / INDEX, weight_map=names | {tensor: file})

    return apply


def only_an_adapter(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    change_json(folder / "adapter_config.json", base_model_name_or_path="org/base")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "an encoder-decoder": (config(is_encoder_decoder=True), "is an encoder-decoder"),
    "an encoder": (config(architectures=["BertForMaskedLM"]), "is a BertForMaskedLM"),
    "a classifier": (config(architectures=["LlamaForSequenceClassification"]), "no head that pred"),
    "a head of a classifier": (tensor("score.weight"), "holds score.weight, the head of a model"),
    "gptq": (config(quantization_config={"quant_method": "gptq", "bits": 4}), r"\(gptq, 4 bits\)"),
    "awq within": (config(text_config={"quantization_config": {"quant_method": "awq"}}), "awq"),
    "mlx": (config(quantization={"bits": 4, "group_size": 64}), r"quantized \(quantization, 4 bit"),
    "fp8": (tensor("x.weight", torch.float8_e4m3fn), "quantized .*x.weight is F8_E4M3"),
    "int8": (tensor("x.weight", torch.int8), "quantized or no real numbers .*x.weight is I8"),
    "bits in bytes": (tensor("x.weight", torch.uint8), "x.weight is U8"),
    "complex numbers": (tensor("x.weight", torch.complex64), "x.weight is C64"),
    "too many layers": (config(num_hidden_layers=10**9), "1,000,000,000, and the files hold 20 te"),
    "no layers": (
        config(text_config={"num_hidden_layers": 0}),
        "num_hidden_layers: 0, and the fil",
    ),
    "an adapter": (only_an_adapter, "is a PEFT adapter of org/base, .*; merge it first"),
    "an adapter beside": (write("adapter_config.json", "{}"), "a whole model and an adapter"),
    "weights in LFS": (write("model.safetensors", LFS), "pointer of Git LFS, .*git lfs pull"),
    "a tokenizer in LFS": (write("tokenizer.json", LFS), "tokenizer.json is a pointer of Git LFS"),
    "a config in LFS": (write("config.json", LFS), "it is a pointer of Git LFS"),
    "a config cut": (write("config.json", '{"model_'), "config.json cannot be read"),
    "a config without an end": (
        write("config.json", '{"a":' * 100_000),
        "config.json cannot be rea",
    ),
    "a config of a list": (write("config.json", "[]"), "config.json is no JSON object"),
    "a generation config cut": (write("generation_config.json", "{"), "generation_config.json can"),
    "weights cut": (weights(lambda b: b[: len(b) // 2]), "truncated .*not fully covered.*again"),
    "weights of nothing": (weights(lambda b: b""), "header too small"),
    "an absurd header": (weights(lambda b: (2**62).to_bytes(8, "little") + b[8:]), "too large"),
    "a header of noise": (weights(lambda b: b[:8] + b"!" * len(b[8:])), "invalid JSON in header"),
    "no weights": (no_weights, r"no \.safetensors file named model.safetensors"),
    "named weights": (config(transformers_weights="x.safetensors"), "rename them to model.safet"),
    "an index of pickles": (index("model.bin"), "'model.bin', which is no safetensors file"),
    "an index to outside": (index("../one.safetensors"), "which is outside the folder; move"),
    "an index to the root": (index("/one.safetensors"), "which is outside the folder"),
    "an index to a drive": (index("C:\\one.safetensors"), "which is outside the folder"),
    "an index of numbers": (index(7), "the file 7, which is no safetensors file"),
    "an index too long": (index("one.safetensors", "model.x"), "one.safetensors lacks model.x"),
    "a lost file": (index("two.safetensors"), "lacks two.safetensors, which .* names for"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_folder_that_cannot_be_trained_is_refused_in_one_line(folder: Path, what: str) -> None:
    damage, message = REFUSED[what]
    damage(folder)
    with pytest.raises(ModelError, match=message) as error:
        check_folder("models/x", folder)
    assert str(error.value).startswith("model.path: models/x")
    assert "\n" not in str(error.value)


def test_a_model_in_several_files_is_what_its_index_names(folder: Path) -> None:
    index("one.safetensors")(folder)
    shutil.copyfile(folder / "one.safetensors", folder / "other.safetensors")
    check_folder("x", folder)
    assert weight_files("x", folder) == [folder / "one.safetensors"]
    assert len(tensor_names("x", folder)) == 20


def test_files_of_a_hub_cache_are_links_to_another_folder(folder: Path) -> None:
    index("one.safetensors")(folder)
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    (folder / "one.safetensors").rename(blobs / "4d7a")
    (folder / "one.safetensors").symlink_to("../blobs/4d7a")
    check_folder("x", folder)


def test_weights_of_64_bits_are_loaded_as_32(folder: Path) -> None:
    tensor("model.x.weight", torch.float64)(folder)
    check_folder("x", folder)


def test_one_file_counts_before_an_index(folder: Path) -> None:
    (folder / INDEX).write_text('{"weight_map": {"x": "model.bin"}}')
    assert weight_files("x", folder) == [folder / "model.safetensors"]


def test_a_folder_is_checked_without_torch() -> None:
    script = (
        "import sys; import dpo_core.models.folder_checks; "
        "assert not {'torch', 'transformers', 'numpy'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
