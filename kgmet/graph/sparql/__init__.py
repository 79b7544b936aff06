"""A remote SPARQL 1.1 endpoint behind the same protocol as a local store."""
