"""Before and after, side by side, by kind of prompt; your own questions."""

from workbench.screens.probe.page import show

show()
