"""Inspection of an edit: state shifts, logit lens, protected directions, and comparison of editors."""
