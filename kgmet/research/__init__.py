"""Experimental parts that no editor uses."""
