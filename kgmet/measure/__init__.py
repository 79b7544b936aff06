"""Questions, answers, three-step verdicts, and comparisons of two answers to one question."""
