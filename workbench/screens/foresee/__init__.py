"""The Foresee page."""
