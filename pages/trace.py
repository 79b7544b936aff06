"""Trace: which states carry a fact, what each part contributes to the answer, and where a chain of facts ends."""

from workbench.screens.trace.page import show

show()
