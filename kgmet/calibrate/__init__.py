"""Settings for one model, chosen on facts that this model knows."""
