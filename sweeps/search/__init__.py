"""The search: which point is tried next, by Optuna's samplers, from what earlier trials showed."""
