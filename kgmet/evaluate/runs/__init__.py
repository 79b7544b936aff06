"""Runs over many edits: scored, saved and resumable."""
