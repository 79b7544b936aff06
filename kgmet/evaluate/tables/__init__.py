"""Summaries of runs as tables and figures."""
