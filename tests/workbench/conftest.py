"""The model of a fresh process; what Streamlit finds in the installed packages is found once for all pages."""

from tests.workbench.sessions import resident
from tests.workbench.shown_pages import components_are_looked_for_once

__all__ = ["components_are_looked_for_once", "resident"]
