"""What was changed in a model, by which kind of method, and about which subjects."""
