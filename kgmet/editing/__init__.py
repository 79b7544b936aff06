"""From a fact to its patch and report."""
