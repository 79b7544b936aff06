"""Triples, stores, files and endpoints; the subgraph of an edit and what follows from it."""
