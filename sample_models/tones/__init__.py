"""A classifier of signal tones and alarms."""
