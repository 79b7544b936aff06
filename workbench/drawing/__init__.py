"""Values as figures and tables. No Streamlit."""
