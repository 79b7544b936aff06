"""One folder per page. No screen imports another."""
