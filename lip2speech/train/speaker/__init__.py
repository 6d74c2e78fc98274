"""Training of the speaker encoder."""
