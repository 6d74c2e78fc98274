"""Adaptation of a model to one person."""
