"""Shared basics: errors, progress, fingerprints, the cache folder, checks of shapes."""
