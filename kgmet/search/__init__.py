"""How the hidden state must move for the model to say the new fact: objective and search."""
