"""Which point is tried next: samplers, the Optuna study, warm starts."""
