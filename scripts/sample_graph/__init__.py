"""Builder of `sample_data/`: facts from data packages and `scripts/facts/`, checked and written as two tables."""
