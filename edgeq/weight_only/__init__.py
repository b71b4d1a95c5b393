"""Weights in blocks of 8, 4 or 2 bits, while activations stay float."""
