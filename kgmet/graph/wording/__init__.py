"""Linking of typed text to entities and relations."""
