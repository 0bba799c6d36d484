"""Log-probs of answers under a model, and the cache of those under the reference."""
