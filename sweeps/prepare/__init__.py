"""Preparation of a sweep, before its first trial: data, tokens, reference log-probs, audit."""
