"""The command `dpo-sweeps`."""
