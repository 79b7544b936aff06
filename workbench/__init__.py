"""What the pages share. May import `kgmet`; is imported by nothing but `pages` and tests."""
