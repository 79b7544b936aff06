"""Report card: effects of one or a few edits, row by row, beside two baselines that write nothing."""
