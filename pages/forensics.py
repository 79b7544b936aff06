"""Inspect an edit: what was changed in a model, by what method, and about whom."""

from workbench.screens.forensics.page import show

show()
