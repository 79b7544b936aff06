"""The Edit page."""
