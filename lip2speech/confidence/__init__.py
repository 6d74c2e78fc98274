"""Confidence: features, calibration, and running estimates."""
