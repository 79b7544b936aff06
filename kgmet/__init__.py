"""Edit what a language model knows, directed by a knowledge graph."""

__version__ = "0.1.0"
