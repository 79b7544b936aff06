"""What Streamlit finds in the installed packages is found once for all pages."""

from tests.workbench.shown_pages import components_are_looked_for_once

__all__ = ["components_are_looked_for_once"]
