"""Runs over many edits: scored, kept on disk, resumable."""
