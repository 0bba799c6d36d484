"""What one trial does: data, encoding, reference, training, evaluation. Never Ray, never Optuna."""
