"""The whole way from a fact to a patch and its report."""
