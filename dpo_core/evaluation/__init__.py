"""Held-out pairs under a policy: log-probs and accuracy per pair, and DPO's failure modes."""
