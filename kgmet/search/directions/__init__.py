"""Direction sources of the shift: learned from the graph, free, or a control."""
