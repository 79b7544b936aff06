"""Running a model: token positions, hooks, shared prefixes."""
