"""Public data sets and your own, read as `EvalCase` values."""
