"""Foresee: which other facts an edit will move, before it is applied."""

from workbench.screens.foresee.page import show

show()
