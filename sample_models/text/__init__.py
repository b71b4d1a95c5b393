"""A language model that predicts the next character."""
