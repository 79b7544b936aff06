"""The Streamlit app. It imports `kgmet` and is imported only by `pages` and tests."""
