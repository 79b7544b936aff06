"""One way of asking: questions, answers, verdicts in three steps, and what two answers to one question say together."""
