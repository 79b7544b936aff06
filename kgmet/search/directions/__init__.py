"""In which direction the hidden state is pushed: learned from the graph, free, or a control."""
