"""The Orthogonality page."""
