"""Training: the loop, its tasks, losses and discriminators; nothing here is needed to speak."""
