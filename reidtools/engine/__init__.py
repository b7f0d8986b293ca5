"""The training loop and what it keeps: objective, trainer, checkpoints, logbook."""
