"""Which of the facts a model knows an edit will move: an index of them, the forecast, and its price in the write."""
