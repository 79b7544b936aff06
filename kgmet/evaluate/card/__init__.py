"""The report card: what one edit, or a few, does to a model, row by row, beside two baselines that write nothing."""
