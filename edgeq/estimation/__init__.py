"""What a model costs where it cannot be run: counted on paper from its graph."""
