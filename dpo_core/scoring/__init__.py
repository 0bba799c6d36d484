"""Log-probs of responses under a model, and the reference model's, computed once and kept."""
