"""Model outputs: answer probabilities and generated text."""
