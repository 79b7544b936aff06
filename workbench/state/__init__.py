"""State of a session, in memory and on disk; only `session` uses Streamlit."""
