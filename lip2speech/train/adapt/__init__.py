"""Adaptation of a model to one speaker from silent videos of known prompts."""
