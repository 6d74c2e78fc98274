"""Rendering of talking faces."""
