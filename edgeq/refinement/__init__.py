"""Steps that win back accuracy after the numbers are chosen; each is measured before it stays."""
