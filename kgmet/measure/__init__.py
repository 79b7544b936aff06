"""What the model says, with and without a patch: prompts with an expectation, results, comparisons."""
