"""The Report card page."""
