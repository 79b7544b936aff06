"""Benchmark: many edits from a data set, with live curves; stopped, resumed, compared with past runs."""

from workbench.screens.benchmark.page import show

show()
