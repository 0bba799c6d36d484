"""Causal language models: loaded, kept between trials, adapted, and asked for answers."""
