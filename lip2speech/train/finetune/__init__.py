"""Multi-task fine-tuning of the lip model."""
