"""What a session holds, in memory and on disk. No Streamlit except in `session`."""
