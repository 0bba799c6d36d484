"""What runs once before the first trial: data, tokens, reference log-probs, audit."""
