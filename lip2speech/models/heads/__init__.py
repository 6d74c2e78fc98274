"""Heads: features and a speaker embedding in; mel, pitch, units and codes out."""
