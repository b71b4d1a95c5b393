"""Searches over precision and placement, guided by measurements."""
