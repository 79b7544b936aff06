"""Orthogonality: what the null space protects, what that costs, and whether edits get into each other's way."""

from workbench.screens.orthogonality.page import show

show()
