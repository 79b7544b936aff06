"""Shift: how far an edit moves the hidden states, layer by layer and token by token."""

from workbench.screens.shift.page import show

show()
