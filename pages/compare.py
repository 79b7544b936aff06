"""Compare: the same edit with several editors or settings, in columns."""

from workbench.screens.compare.page import show

show()
