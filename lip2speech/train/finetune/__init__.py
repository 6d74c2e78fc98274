"""Multi-task fine-tuning of a lip model: video to mel, units and codes."""
