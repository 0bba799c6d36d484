"""Causal language models: loading, reuse between trials, generated answers."""
