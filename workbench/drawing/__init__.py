"""Figures and tables made from values, without Streamlit."""
