"""Trials on Ray: Tune's runner, the trainable, the workers, the ledger they fill."""
