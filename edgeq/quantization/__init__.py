"""Annotate -> resolve -> insert: wanted specs, then numbers, then a graph with Q/DQ."""
