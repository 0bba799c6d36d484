"""Checks of preference data before training, without a model and with the reference model."""
