"""Readers of public and own data sets as `EvalCase` values."""
