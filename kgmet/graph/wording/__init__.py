"""From typed text to entities and relations."""
