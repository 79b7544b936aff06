"""From wanted shifts of the hidden state to factors of weight updates."""
