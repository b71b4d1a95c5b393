"""Small models, trained here, on which the quantizer is judged by the accuracy of a task."""
