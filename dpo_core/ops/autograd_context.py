"""The type of what PyTorch passes as `ctx` to an autograd node.

Tested with the nodes that use it, in tests/unit/dpo_core/ops/test_fused_layers.py.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class AutogradContext(Protocol):
    """Tensors that a node keeps between its forward and its backward pass."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]  # one per argument of `forward`

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep `tensors`; the backward pass reads them from `saved_tensors`."""
