"""The command line: parses, calls the Python API, renders. Nothing is decided here."""
