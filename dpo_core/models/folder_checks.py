"""Checks of a model's folder, as far as its small files and the headers of its weights tell.

No tensor is read and nothing heavy is imported, so a sweep is refused before it starts anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from safetensors import SafetensorError, safe_open

from dpo_core.errors import ModelError

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
ADAPTER_CONFIG, GENERATION_CONFIG = "adapter_config.json", "generation_config.json"
CLASSIFICATION_HEAD = re.compile(
    r"^(model\.)?(score|scores|classifier|classification_head|qa_outputs|reward_head|rm_head"
    r"|regression_head|pre_classifier)\."
)
"""Names of tensors that only a model for classification or regression has."""
_INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
_LFS = b"version https://git-lfs"
_LARGEST_POINTER = 1024  # bytes; Git LFS's own limit
_TRAINABLE = {"F64", "F32", "F16", "BF16"}
_LAYERS = {"num_hidden_layers", "num_layers", "n_layer", "n_layers"}
_MOST_LAYERS = 1000
"""A model may have more layers than tensors, as some use a layer several times, but not so many."""
_OTHER_TASK = re.compile(
    r"For(MaskedLM|SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice"
    r"|NextSentencePrediction|RewardModel)$"
)


def check_folder(path: str, folder: Path) -> None:
    """Check a model's folder without reading a tensor.

    Args:
        path: What the settings call the model, for the message.
        folder: The folder with its files.

    Raises:
        ModelError: The folder holds no decoder that can be trained; the message says why.
    """
    config = _read_config(path, folder)
    _check_architecture(path, config)
    for file in sorted(folder.iterdir()):
        if _is_lfs_pointer(file):
            raise _refusal(
                path,
                f"{file.name} is a pointer of Git LFS, not the file itself",
                "run `git lfs pull` in the folder",
            )
    if (folder / GENERATION_CONFIG).is_file():
        _read_json_object(path, folder / GENERATION_CONFIG)
    tensors = 0
    for file in weight_files(path, folder):
        tensors += _check_tensors(path, file)
    _check_layers(path, config, tensors)


def weight_files(path: str, folder: Path) -> list[Path]:
    """Return the safetensors files that Transformers loads from a folder, in the order of their names.

    Args:
        path: What the settings call the model, for the message.
        folder: The folder with its files.

    Returns:
        `model.safetensors`, else the files that the index names.

    Raises:
        ModelError: There are none, or the index is wrong.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if not (folder / _INDEX_FILE).is_file():
        raise ModelError(
            f"model.path: {path} holds no .safetensors file named {WEIGHTS_FILE}, and no "
            f"{_INDEX_FILE}; convert it first: from_pretrained(…), then save_pretrained(…)"
        )
    return [folder / name for name in sorted(set(_weight_map(path, folder).values()))]


def tensor_names(path: str, folder: Path) -> list[str]:
    """Return the names of all tensors in a model's files. Raises ModelError where one is unreadable."""
    return [name for file in weight_files(path, folder) for name in _dtypes(path, file)]


def _read_config(path: str, folder: Path) -> Mapping[str, Any]:
    """Read config.json, which makes the folder that of a whole model and nothing else."""
    adapter = folder / ADAPTER_CONFIG
    if adapter.is_file() and (folder / CONFIG_FILE).is_file():
        raise _refusal(
            path,
            f"holds a whole model and an adapter ({ADAPTER_CONFIG}), and it is not clear whether the "
            "adapter belongs to the model",
            f"move {ADAPTER_CONFIG} and its weights to a folder of their own, or merge the adapter",
        )
    if adapter.is_file():
        base = _read_json_object(path, adapter).get("base_model_name_or_path") or "its base"
        raise _refusal(
            path,
            f"is a PEFT adapter of {base}, not a whole model",
            "merge it first: PeftModel.from_pretrained(base, adapter).merge_and_unload()"
            f".save_pretrained(folder), or give model.path {base}",
        )
    if not (folder / CONFIG_FILE).is_file():
        raise ModelError(
            f"model.path: {path} cannot be loaded (it has no {CONFIG_FILE}); give a directory with "
            f"{CONFIG_FILE}, safetensors weights and a tokenizer"
        )
    return _read_json_object(path, folder / CONFIG_FILE)


def _check_architecture(path: str, config: Mapping[str, Any]) -> None:
    """Refuse what is no decoder with numbers that can be trained, as far as config.json says it."""
    kind = config.get("model_type", "a model of unknown type")
    if config.get("is_encoder_decoder") is True:
        raise _refusal(path, f"is an encoder-decoder ({kind})", "give a decoder-only model")
    architectures = config.get("architectures")
    first = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    if _OTHER_TASK.search(first):
        raise _refusal(
            path,
            f"is a {first}, which has no head that predicts the next token of a text",
            "give the model for causal language modelling that it was made from",
        )
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        method = _quantization(part)
        if method:
            raise _refusal(
                path,
                f"holds weights that are quantized ({method}), which can neither be trained nor merged",
                "give the checkpoint with bfloat16 or float32 weights that it was made from",
            )
    if config.get("transformers_weights"):
        raise _refusal(
            path,
            f"names its weights in transformers_weights of {CONFIG_FILE}",
            f"rename them to {WEIGHTS_FILE} and delete that key",
        )


def _quantization(config: Mapping[str, Any]) -> str | None:
    """Return how weights are quantized, or None. MLX calls the key `quantization`."""
    for key in ("quantization_config", "quantization", "compression_config"):
        about = config.get(key)
        if isinstance(about, dict) and about:
            bits = next((about[k] for k in ("bits", "num_bits") if about.get(k)), None)
            method = about.get("quant_method") or key
            return f"{method}, {bits} bits" if bits else str(method)
    return None


def _weight_map(path: str, folder: Path) -> Mapping[str, str]:
    """Read the index of a model in several files, each of them a safetensors file of the folder."""
    index = _read_json_object(path, folder / _INDEX_FILE)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise _refusal(path, f"has a {_INDEX_FILE} without a weight_map", _FETCH_AGAIN)
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or not file.endswith(".safetensors"):
            raise _refusal(
                path,
                f"{_INDEX_FILE} names for {tensor} the file {file!r}, which is no safetensors file",
                "convert it first: from_pretrained(…), then save_pretrained(…)",
            )
        # Only the name counts: files of the hub's cache are links to another folder.
        if not _is_inside(file):
            raise _refusal(
                path,
                f"{_INDEX_FILE} names for {tensor} the file {file!r}, which is outside the folder",
                "move the file into the folder and name it without a path",
            )
        if not (folder / file).is_file():
            raise _refusal(
                path, f"lacks {file}, which {_INDEX_FILE} names for {tensor}", _FETCH_AGAIN
            )
    for file in sorted(set(weight_map.values())):
        stored = _dtypes(path, folder / file)
        lost = next((t for t, f in weight_map.items() if f == file and t not in stored), None)
        if lost is not None:
            raise _refusal(path, f"{file} lacks {lost}, which {_INDEX_FILE} names", _FETCH_AGAIN)
    return weight_map


def _is_inside(file: str) -> bool:
    """Return whether a name, as it is written, stays within its folder on every system."""
    return all(
        not kind(file).is_absolute() and not kind(file).drive and ".." not in kind(file).parts
        for kind in (PurePosixPath, PureWindowsPath)
    )


def _check_layers(path: str, config: Mapping[str, Any], tensors: int) -> None:
    """Refuse a number of layers that no model has: building a billion would never end."""
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in _LAYERS & part.keys():
            count = part[key]
            if isinstance(count, int) and not 0 < count <= max(_MOST_LAYERS, tensors):
                raise _refusal(
                    path,
                    f"{CONFIG_FILE} gives {key}: {count:,}, and the files hold {tensors:,} tensors",
                    f"put the right {CONFIG_FILE} beside the weights",
                )


def _check_tensors(path: str, file: Path) -> int:
    """Check the names and dtypes of a file's tensors, and return how many there are."""
    dtypes = _dtypes(path, file)
    for name, dtype in dtypes.items():
        if CLASSIFICATION_HEAD.search(name):
            raise _refusal(
                path,
                f"holds {name}, the head of a model for classification or rewards",
                "give the model for causal language modelling that it was made from",
            )
        if name.endswith(".weight") and dtype not in _TRAINABLE:
            raise _refusal(
                path,
                f"holds weights that are quantized or no real numbers ({name} is {dtype})",
                "give the checkpoint with bfloat16 or float32 weights that it was made from",
            )
    return len(dtypes)


def _dtypes(path: str, file: Path) -> dict[str, str]:
    """Return the dtype of each tensor of a file, by name, as the file's header has it."""
    if _is_lfs_pointer(file):
        raise _refusal(
            path,
            f"{file.name} is a pointer of Git LFS, not the file itself",
            "run `git lfs pull` in the folder",
        )
    try:
        with safe_open(file, framework="np") as tensors:
            names = list(tensors.keys())
            return {name: str(tensors.get_slice(name).get_dtype()) for name in names}
    except (SafetensorError, OSError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise _refusal(
            path, f"{file.name} is truncated or no safetensors file ({reason})", _FETCH_AGAIN
        ) from None


def _is_lfs_pointer(file: Path) -> bool:
    """Return whether a file is what Git leaves in place of a large one that it did not fetch."""
    if not file.is_file() or file.stat().st_size > _LARGEST_POINTER:
        return False
    with file.open("rb") as stream:
        return stream.read(len(_LFS)) == _LFS


def _read_json_object(path: str, file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if _is_lfs_pointer(file):
            reason = "it is a pointer of Git LFS; run `git lfs pull` in the folder"
        else:
            reason = str(error).splitlines()[0]
        raise _refusal(path, f"{file.name} cannot be read ({reason})", _FETCH_AGAIN) from None
    if not isinstance(content, dict):
        raise _refusal(path, f"{file.name} is no JSON object", _FETCH_AGAIN)
    return content


_FETCH_AGAIN = "fetch or save the model again"


def _refusal(path: str, what: str, way_out: str) -> ModelError:
    return ModelError(f"model.path: {path}: {what}; {way_out}")
