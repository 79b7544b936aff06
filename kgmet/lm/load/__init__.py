"""Model families, loading and the bundled models."""
