"""Triples in memory and in files, behind one protocol."""
