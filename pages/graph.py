"""The subgraph around the edit: picture, table, which triples take part."""

from workbench.screens.graph.page import show

show()
