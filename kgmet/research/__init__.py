"""Parts that are not in any editor: measured, of interest, and importable."""
