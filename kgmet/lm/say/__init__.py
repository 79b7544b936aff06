"""What a model says: probabilities of answers and generated text."""
