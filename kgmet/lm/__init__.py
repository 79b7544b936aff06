"""The language model: families, loading, spans, hooks, suffixes and scores."""
