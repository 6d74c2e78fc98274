"""Foreign checkpoints -> our checkpoint folders; the files are read as data and never run."""
