"""Edits so far: switch on and off, undo and redo, name, export, import."""

from workbench.screens.ledger.page import show

show()
