"""Faster forms of a model's operations with the same results: attention, head, norms, LoRA."""
