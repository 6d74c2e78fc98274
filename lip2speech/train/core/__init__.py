"""What every training task shares."""
