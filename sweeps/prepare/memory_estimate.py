"""An estimate of a worker's memory from the shape of the model, before anything is loaded.

Tested in tests/unit/sweeps/preflight/test_plan.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpo_core.settings import FLOAT32, ModelSettings
from sweeps.config.schema import SweepConfig
from sweeps.run_dir.json_types import CoverageJson

if TYPE_CHECKING:
    from dpo_core.models.lora_coverage import Coverage


@dataclass(frozen=True)
class ModelSize:
    """Counts of a model's weights, and its shape, from config.json."""

    total: int
    layers: int
    hidden: int
    vocabulary: int
    coverage: Coverage | None
    """What the adapter changes; None without an adapter."""

    @property
    def trained(self) -> int:
        """Return how many weights a trial trains."""
        return self.total if self.coverage is None else self.coverage.trained

    @property
    def folded(self) -> int:
        """Return how many weights get the adapter's product added at each pass."""
        return 0 if self.coverage is None else self.coverage.folded

    @property
    def coverage_json(self) -> CoverageJson | None:
        """Return the adapter's coverage as JSON content."""
        own = self.coverage
        if own is None:
            return None
        return {
            "body": own.body,
            "adapted": own.adapted,
            "trained": own.trained,
            "folded": own.folded,
            "left_out": dict(own.left_out),
        }


def model_size(model: ModelSettings) -> ModelSize:
    """Count the weights of a model and of its adapter, without loading any.

    Raises ModelError when the model is not there or the adapter cannot be trained.
    """
    import torch

    from dpo_core.models.load import load_shapes
    from dpo_core.models.lora_coverage import adapt_and_count

    net = load_shapes(model)
    text = net.config.get_text_config()
    total = sum(p.numel() for p in net.parameters())
    with torch.device("meta"):
        coverage = adapt_and_count(net, model.adapter) if model.adapter else None
    return ModelSize(total, text.num_hidden_layers, text.hidden_size, text.vocab_size, coverage)


_VALUES, _VALUES_NOT_SHARED = 34, 34 * 4
"""What a layer keeps of a token, by hidden unit: attention and a multilayer perceptron; and about what
state spaces and linear attention keep of a prompt that is run twice (`tests.bench --only models`)."""


def memory_bytes(
    config: SweepConfig, size: ModelSize, row_tokens: int, kept_bytes_per_token: float = 0.0
) -> int:
    """Estimate the memory of a training step or of scoring, whichever is larger, in bytes.

    It counts the weights, the gradients and two AdamW moments of what is trained, the activations of
    one row (about 34 values per token, layer and hidden unit, arXiv:2205.05198), the sums of weights
    and adapter where PEFT adds them up, as for experts, and twice the logits of a piece of its answers.
    Scoring has no activations to keep, but where it is in float32 and the weights are not, it has
    copies of the embeddings, of the head and of one layer. There is no reference model in memory.

    Args:
        config: the sweep: its dtype, adapter and gradient checkpointing.
        size: the model's.
        row_tokens: the length of a row.
        kept_bytes_per_token: the activations of a token, as measured; 0 to estimate them.

    Returns:
        Bytes for one worker.
    """
    from dpo_core.ops.fused_head import PIECE_VALUES

    width = 4 if config.model.adapter is None or config.model.dtype == FLOAT32 else 2
    weights = size.total * width
    training = size.trained * 3 * 4
    layers = 2 if config.training.gradient_checkpointing else size.layers
    per_token = kept_bytes_per_token or estimated_bytes_per_token(config, size)
    activations = per_token * row_tokens * min(1.0, layers / max(1, size.layers))
    # Each layer keeps its sums of weights and products for the backward pass, which has the gradient
    # of one layer's sums.
    folded = size.folded * width * (layers + 1) // max(1, size.layers)
    logits = 2 * min(row_tokens * size.vocabulary, PIECE_VALUES) * 4
    copies = _float32_copies(size) if width < 4 and _may_score_in_float32(config) else 0
    return int(weights + training + logits + max(activations + folded, copies))


def estimated_bytes_per_token(config: SweepConfig, size: ModelSize, shared: bool = True) -> float:
    """Estimate the activations that training keeps of each token of a row.

    Args:
        config: the sweep: its dtype and adapter.
        size: the model's.
        shared: whether prompts are shared; those that cannot be are computed twice, and most often by
            layers that keep more.

    Returns:
        Bytes.
    """
    width = 4 if config.model.adapter is None or config.model.dtype == FLOAT32 else 2
    values = _VALUES if shared else _VALUES_NOT_SHARED
    return values * size.hidden * size.layers * width / 2


def _may_score_in_float32(config: SweepConfig) -> bool:
    return config.selection.score_dtype != "model"


def _float32_copies(size: ModelSize) -> int:
    """Return the bytes of embeddings, head and one layer in float32."""
    embeddings = size.vocabulary * size.hidden
    layer = max(0, size.total - embeddings) // max(1, size.layers)
    return 4 * (2 * embeddings + layer)
