"""Training of the prior over codec codes."""
