"""What is loaded, memory, statistics; load another."""

from workbench.screens.models.page import show

show()
