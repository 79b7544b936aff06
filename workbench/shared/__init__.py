"""Streamlit blocks and actions that several screens use."""
