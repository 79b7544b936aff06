"""Looking inside an edit: how far states move, what each layer would say, what was protected, and what editors cost."""
