"""The search for a shift of the hidden state that makes the model say the new fact."""
