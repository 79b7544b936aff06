"""Streamlit blocks and actions shared by several screens."""
