"""What held-out pairs say of a policy: log-probs and accuracy per pair, failure modes."""
