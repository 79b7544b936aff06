"""What two answers to one question say together: comparisons, divergences, and the two sides of a batch."""
