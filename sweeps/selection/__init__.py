"""The choice among checkpoints and the verdict on it: pure functions of records."""
