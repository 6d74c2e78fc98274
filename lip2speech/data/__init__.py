"""Corpora and what turns them into training batches."""
