"""Run summaries as tables and figures."""
