"""Type or choose a fact, see what will change, apply it, undo it."""

from workbench.screens.edit.page import show

show()
