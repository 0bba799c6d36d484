"""One DPO training run: TRL's trainer, the loss, the order of batches, ranks, checkpoints."""
