"""A graph encoder trained once per model across the facts of a store: draw edits, make examples, fit."""
