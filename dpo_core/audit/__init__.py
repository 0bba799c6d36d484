"""Checks of preference data: of the pairs alone, and with the reference model's log-probs."""
