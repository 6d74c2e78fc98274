"""Losses; plain functions or modules without weights."""
