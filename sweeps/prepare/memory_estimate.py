"""An estimate of a worker's memory from the shape of the model, before anything is loaded.

Tested in tests/unit/sweeps/preflight/test_plan.py.
"""

from __future__ import annotations

from dpo_core.settings import FLOAT32, ModelSettings
from sweeps.config.schema import SweepConfig


def count_parameters(model: ModelSettings) -> dict[str, int]:
    """Return total and trained parameters, layers, hidden and vocabulary size, from config.json."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from dpo_core.models.load import local_path, lora_config, readable_errors

    with readable_errors(model.path):
        shape = AutoConfig.from_pretrained(
            local_path(model.path),
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
        )
    text = shape.get_text_config()
    with torch.device("meta"):
        net = AutoModelForCausalLM.from_config(shape)
        total = sum(p.numel() for p in net.parameters())
        trained = total
        if model.adapter is not None:
            from peft import get_peft_model

            adapted = get_peft_model(net, lora_config(model.adapter, None))
            trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    return {
        "total": total,
        "trained": trained,
        "layers": text.num_hidden_layers,
        "hidden": text.hidden_size,
        "vocabulary": text.vocab_size,
    }


def memory_bytes(config: SweepConfig, parameters: dict[str, int], row_tokens: int) -> int:
    """Estimate the memory of a training step or of scoring, whichever is larger, in bytes.

    It counts the weights, the gradients and two AdamW moments of what is trained, the activations of
    one row (about 34 values per token, layer and hidden unit, arXiv:2205.05198), and twice the logits
    of a piece of its answers. Scoring has no activations to keep, but where it is in float32 and the
    weights are not, it has copies of the embeddings, of the head and of one layer. There is no
    reference model in memory.

    Args:
        config: the sweep: its dtype, adapter and gradient checkpointing.
        parameters: as `count_parameters` returns them.
        row_tokens: the length of a row.

    Returns:
        Bytes for one worker.
    """
    from dpo_core.ops.fused_head import PIECE_VALUES

    width = 4 if config.model.adapter is None or config.model.dtype == FLOAT32 else 2
    weights = parameters["total"] * width
    training = parameters["trained"] * 3 * 4
    layers = 2 if config.training.gradient_checkpointing else parameters["layers"]
    activations = 34 * row_tokens * parameters["hidden"] * layers * width // 2
    logits = 2 * min(row_tokens * parameters["vocabulary"], PIECE_VALUES) * 4
    copies = _float32_copies(parameters) if width < 4 and _may_score_in_float32(config) else 0
    return int(weights + training + logits + max(activations, copies))


def _may_score_in_float32(config: SweepConfig) -> bool:
    return config.selection.score_dtype != "model"


def _float32_copies(parameters: dict[str, int]) -> int:
    """Return the bytes of embeddings, head and one layer in float32."""
    embeddings = parameters["vocabulary"] * parameters["hidden"]
    layer = max(0, parameters["total"] - embeddings) // max(1, parameters["layers"])
    return 4 * (2 * embeddings + layer)
