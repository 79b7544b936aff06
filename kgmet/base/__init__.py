"""What every other package stands on: errors, progress, fingerprints, the cache folder, files."""
