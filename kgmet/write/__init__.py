"""From shifts of the hidden state to low-rank weight updates."""
