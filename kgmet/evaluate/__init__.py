"""Data sets, runs over many edits, and their tables and figures."""
