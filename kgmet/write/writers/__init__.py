"""One module per published way to write an update."""
