"""Reading an edit in a graph: its subgraph, its consequences, and the facts that must stay."""
