"""The reference pass of a sweep: how rows are run on this device, and each split's columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from dpo_core.encoding import encode
from dpo_core.encoding.token_table import TokenTable
from dpo_core.scoring import reference_cache
from dpo_core.scoring.reference_cache import Columns
from dpo_core.settings import DEFAULT_ROW_TOKENS
from sweeps.config.schema import SweepConfig
from sweeps.prepare.memory_estimate import count_parameters, memory_bytes
from sweeps.run_dir import json_files
from sweeps.run_dir.paths import SPLITS, SweepPaths

Encoded = Mapping[str, TokenTable]
Prints = Mapping[str, str]


def settle_rows(
    config: SweepConfig, paths: SweepPaths, tokens: Encoded, prints: Prints, scorer: Any
) -> str | None:
    """Decide once whether the scorer's rows share prompts, and how long they are. Returns why
    prompts cannot be shared, if they cannot."""
    not_shared = _sharing_verdict(config, paths, tokens, prints, scorer)
    scorer.shared = not_shared is None
    scorer.row_tokens = config.training.row_tokens or _row_tokens(config, tokens, scorer)
    return not_shared


def columns_of(
    config: SweepConfig,
    paths: SweepPaths,
    pairs: TokenTable,
    prints: Prints,
    scorer: Any,
) -> tuple[str, Columns, bool]:
    """Key, columns, and whether they had to be computed, of pairs under the untouched model."""
    key = reference_cache.reference_key(
        pairs,
        weights=prints["weights_sha256"],
        tokenizer=prints["tokenizer_sha256"],
        max_tokens=config.data.max_tokens,
        dtype=_precision(config),
    )
    compute = partial(scorer, pairs)
    return key, *reference_cache.load_or_compute(paths.reference_cache, key, pairs, compute)


def needs_checkpointing(config: SweepConfig, tokens: Encoded, device: str) -> bool:
    """As the config says; where it says nothing, when a trial would not fit the device without."""
    from dpo_core.scoring.row_size import device_bytes, fits

    if config.training.gradient_checkpointing is not None:
        return config.training.gradient_checkpointing
    row = config.training.row_tokens or DEFAULT_ROW_TOKENS
    longest = max(row, int(tokens["train"].tokens.max()))
    needed = memory_bytes(config, count_parameters(config.model), longest)
    share = config.resources.gpus_per_worker if device == "cuda" else 1 / config.search.concurrent
    return not fits(needed, device_bytes(device) * min(1.0, share))


def _sharing_verdict(
    config: SweepConfig, paths: SweepPaths, tokens: Encoded, prints: Prints, scorer: Any
) -> str | None:
    """Why prompts cannot be shared, or None; kept beside the references, which depend on it."""
    pairs = TokenTable.concatenate(tokens[split] for split in SPLITS)
    about = (prints["weights_sha256"], _precision(config), config.model.attention)
    name = f"sharing/{reference_cache.prompt_sharing_key(pairs, *about)}.json"
    kept: dict[str, str | None] | None
    kept = json_files.SHARING.rebuildable(paths.reference_cache, name)
    if kept is not None:
        return kept["why_not"]
    verdict: str | None = scorer.why_not_shared(pairs)
    paths.reference_cache.write(name, json.dumps({"why_not": verdict}).encode())
    return verdict


def _precision(config: SweepConfig) -> str:
    """How the untouched model is loaded and run: see `load_model`."""
    return f"{config.model.dtype} {'lora' if config.model.adapter else 'full'}"


def _row_tokens(config: SweepConfig, tokens: Encoded, scorer: Any) -> int:
    """Measured where it matters; see `fitting`. Loads the model on a GPU only."""
    from dpo_core.models.load import autocast
    from dpo_core.scoring.row_size import measured_row_tokens

    if scorer.device != "cuda" or not scorer.shared:
        return DEFAULT_ROW_TOKENS
    reserved = 3 * 4 * count_parameters(config.model)["trained"]
    return measured_row_tokens(
        scorer.model, tokens["train"], lambda: autocast(config.model, "cuda"), reserved
    )


def fingerprints(config: SweepConfig, tokenizer: Any) -> dict[str, str]:
    """What the model's numbers depend on, beside the pairs."""
    from dpo_core.models.load import weights_fingerprint

    return {
        "weights_sha256": weights_fingerprint(config.model),
        "tokenizer_sha256": encode.tokenizer_fingerprint(tokenizer),
    }
