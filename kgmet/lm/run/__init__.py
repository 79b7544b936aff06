"""Running a model: token positions, hooks and shared prefixes."""
