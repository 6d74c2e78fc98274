"""Corpora -> prepared folders, run from a checkout: `python -m preprocess grid --root R --out O`."""
