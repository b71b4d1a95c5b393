"""Judges a candidate: closeness, coverage, latency, verdict."""
