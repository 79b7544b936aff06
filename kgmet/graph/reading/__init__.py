"""What a graph says about an edit: its subgraph, its consequences, and what must stay."""
