"""Codec training."""
