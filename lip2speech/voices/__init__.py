"""Enrolled voices."""
