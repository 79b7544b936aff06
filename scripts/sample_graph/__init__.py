"""How `sample_data/` is made: facts from data packages and from `scripts/facts/`, checked and written as two tables."""
