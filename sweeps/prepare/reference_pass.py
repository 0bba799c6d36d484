"""The reference pass of a sweep: how rows run on this device, and the log-probs of each split."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from dpo_core.encoding import encode
from dpo_core.encoding.token_table import TokenTable
from dpo_core.scoring import reference_cache
from dpo_core.scoring.reference_cache import Columns, margins, root_mean_square
from dpo_core.scoring.row_layout import RowLayout
from dpo_core.settings import DEFAULT_ROW_TOKENS, FLOAT32
from sweeps.config.schema import SweepConfig
from sweeps.prepare.memory_estimate import memory_bytes, model_size
from sweeps.run_dir import json_files
from sweeps.run_dir.paths import SPLITS, SweepPaths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dpo_core.scoring.prompt_sharing import LayoutChoice
    from dpo_core.scoring.scorer import Scorer

NOISE_PAIRS = 64
"""The number of select pairs on which the noise of the model's dtype is measured."""
_MEASUREMENT = "float32, full row, memory"
"""Names what is measured of a layout; another name, and layouts that are stored are measured again."""
TokenTables = Mapping[str, TokenTable]
Fingerprints = Mapping[str, str]
"""SHA-256 of weights and tokenizer, as `fingerprints` returns them."""


def choose_row_layout(
    config: SweepConfig,
    paths: SweepPaths,
    tokens: TokenTables,
    prints: Fingerprints,
    scorer: Scorer,
) -> str | None:
    """Decide once how the scorer's rows are laid out, and how long they are.

    Args:
        config: the sweep.
        paths: its run directory; the layout is stored beside the references.
        tokens: the encoded pairs of each split.
        prints: fingerprints of weights and tokenizer.
        scorer: changed in place: `layout`, `kept_bytes_per_token` and `row_tokens`.

    Returns:
        Why prompts cannot be shared, or None.
    """
    choice = _layout_choice(config, paths, tokens, prints, scorer)
    scorer.layout, scorer.kept_bytes_per_token = choice.layout, choice.kept_bytes_per_token
    scorer.row_tokens = config.training.row_tokens or _row_tokens(config, tokens, scorer)
    return choice.why_not_shared


def reference_columns(
    config: SweepConfig,
    paths: SweepPaths,
    pairs: TokenTable,
    prints: Fingerprints,
    scorer: Scorer,
    dtype: str = "",
) -> tuple[str, Columns, bool]:
    """Load or compute the reference model's log-probs of a split.

    Args:
        config: the sweep.
        paths: its run directory, which knows the storage's reference cache.
        pairs: the encoded pairs.
        prints: fingerprints of weights and tokenizer.
        scorer: computes what is not in the cache.
        dtype: the dtype of the computation; empty: the model's.

    Returns:
        The cache's key, the columns (nats, one value a pair), and whether they had to be computed.
    """
    key = reference_cache.reference_key(
        pairs,
        weights=prints["weights_sha256"],
        tokenizer=prints["tokenizer_sha256"],
        max_tokens=config.data.max_tokens,
        dtype=f"{_weights_dtype(config)} weights, {dtype or config.model.dtype}",
        device=scorer.device,
        rows=_rows(config, scorer, dtype),
    )
    compute = partial(scorer, pairs, dtype)
    return key, *reference_cache.load_or_compute(paths.reference_cache, key, pairs, compute)


def measured_margin_noise(
    config: SweepConfig,
    paths: SweepPaths,
    pairs: TokenTable,
    prints: Fingerprints,
    scorer: Scorer,
    scored: Columns,
    dtype: str,
) -> float:
    """Measure how far the model's dtype moves the margins log π(y_w) − log π(y_l) of the reference.

    Args:
        config: the sweep.
        paths: its run directory, which knows the storage's reference cache.
        pairs: the select split, of which the first pairs are scored in the other precision, too.
        prints: fingerprints of weights and tokenizer.
        scorer: computes what is not in the cache.
        scored: the reference's log-probs of the split, (pairs,) each.
        dtype: their precision: the model's, or float32.

    Returns:
        The root mean square of the difference to float32, nats.
    """
    if config.model.dtype == FLOAT32:
        return 0.0
    few = TokenTable.of(pairs[:NOISE_PAIRS])
    other = config.model.dtype if dtype == FLOAT32 else FLOAT32
    again = reference_columns(config, paths, few, prints, scorer, other)[1]
    return root_mean_square(margins(scored)[: len(few)] - margins(again))


def needs_checkpointing(config: SweepConfig, tokens: TokenTables, scorer: Scorer) -> bool:
    """Decide on gradient checkpointing.

    Args:
        config: the sweep; what it sets is what holds.
        tokens: the encoded pairs of each split.
        scorer: knows the device, and what a row keeps there.

    Returns:
        What the config says, else whether a trial would not fit the device's memory without.
    """
    from dpo_core.scoring.row_size import device_bytes, fits

    if config.training.gradient_checkpointing is not None:
        return config.training.gradient_checkpointing
    row = config.training.row_tokens or DEFAULT_ROW_TOKENS
    longest = max(row, int(tokens["train"].tokens.max()))
    kept, device = scorer.kept_bytes_per_token, scorer.device
    needed = memory_bytes(config, model_size(config.model), longest, kept)
    share = config.resources.gpus_per_worker if device == "cuda" else 1 / config.search.concurrent
    return not fits(needed, device_bytes(device) * min(1.0, share))


def _layout_choice(
    config: SweepConfig,
    paths: SweepPaths,
    tokens: TokenTables,
    prints: Fingerprints,
    scorer: Scorer,
) -> LayoutChoice:
    """Measure the layout, or read what was measured: it is stored beside the references."""
    from dpo_core.scoring.prompt_sharing import LayoutChoice

    pairs = TokenTable.concatenate(tokens[split] for split in SPLITS)
    row_tokens = config.training.row_tokens or DEFAULT_ROW_TOKENS
    key = reference_cache.prompt_sharing_key(
        pairs,
        _MEASUREMENT,
        version("transformers"),
        prints["weights_sha256"],
        f"{_weights_dtype(config)} weights, {config.model.dtype}",
        scorer.device,
        config.model.attention,
        str(row_tokens),
    )
    stored: dict[str, Any] | None
    stored = json_files.SHARING.rebuildable(paths.reference_cache, f"sharing/{key}.json")
    if stored is not None:
        layout = RowLayout(stored["layout"])
        return LayoutChoice(layout, stored["why_not"], stored["kept_bytes_per_token"])
    choice = scorer.choose_layout(pairs, row_tokens)
    content = {
        "layout": choice.layout.value,
        "why_not": choice.why_not_shared,
        "kept_bytes_per_token": choice.kept_bytes_per_token,
    }
    json_files.SHARING.write(paths.reference_cache, f"sharing/{key}.json", content)
    return choice


def _weights_dtype(config: SweepConfig) -> str:
    """Return the dtype in which `load_model` keeps the untouched model."""
    return config.model.dtype if config.model.adapter else FLOAT32


def _rows(config: SweepConfig, scorer: Scorer, dtype: str) -> str:
    """Describe rows where they move numbers by more than the noise of float32: in half precision."""
    if FLOAT32 in (dtype, config.model.dtype):
        return ""
    if not scorer.layout.shares_prompts:
        return f"{config.model.attention} single answers"
    mask = " under a mask" if scorer.layout is RowLayout.MASKED else ""
    return f"{config.model.attention} {scorer.row_tokens}{mask}"


def _row_tokens(config: SweepConfig, tokens: TokenTables, scorer: Scorer) -> int:
    """Return the length of a row in tokens: measured on a GPU, see `row_size`, else the default."""
    from dpo_core.models.load import autocast
    from dpo_core.scoring.row_size import measured_row_tokens

    if scorer.device != "cuda" or not scorer.layout.shares_prompts:
        return DEFAULT_ROW_TOKENS
    reserved = 3 * 4 * model_size(config.model).trained
    return measured_row_tokens(
        scorer.model,
        tokens["train"],
        lambda: autocast(config.model, "cuda"),
        reserved,
        scorer.layout,
    )


def fingerprints(config: SweepConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Return the SHA-256 of weights and tokenizer: with the pairs, they decide the log-probs."""
    from dpo_core.models.load import weights_fingerprint

    return {
        "weights_sha256": weights_fingerprint(config.model),
        "tokenizer_sha256": encode.tokenizer_fingerprint(tokenizer),
    }
