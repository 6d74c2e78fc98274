"""Metrics of one utterance, each in the module of its kind, all by name in `registry`."""
