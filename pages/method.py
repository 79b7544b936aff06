"""Method: the pipeline as a picture, in five lines, its symbols, and what every number means."""

from workbench.screens.method.page import show

show()
