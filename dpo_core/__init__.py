"""One trial of a sweep: data, encoding, reference, training, evaluation. Imports no Ray, no Optuna."""
