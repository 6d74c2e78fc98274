"""Shared training code: configs, task interface, trainer, optimizer, EMA, checkpoints, logs, dry runs."""
