"""The Shift page."""
