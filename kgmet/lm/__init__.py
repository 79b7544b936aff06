"""Language models: families, loading, token spans, hooks, cached prefixes and scores."""
