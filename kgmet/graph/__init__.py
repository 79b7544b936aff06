"""Triples, stores, files and endpoints; the subgraph and the consequences of an edit."""
