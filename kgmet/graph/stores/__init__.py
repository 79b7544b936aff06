"""Local stores and file readers behind the `TripleStore` protocol."""
