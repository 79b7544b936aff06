"""Data sets, runs over many edits, general ability, and the tables and figures that come of them."""
