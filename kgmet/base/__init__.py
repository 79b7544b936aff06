"""What every other part stands on: errors, progress, fingerprints, the cache folder, checks of shapes."""
