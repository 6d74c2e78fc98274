"""Speaker encoder training."""
