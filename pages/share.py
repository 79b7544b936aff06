"""One result as a file, a talk, tables and a link."""

from workbench.screens.share.page import show

show()
