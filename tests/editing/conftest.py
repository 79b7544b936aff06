"""A cache of its own for each test, and a tiny model for each file."""

from tests.tiny_fixtures import lm, own_cache_folder

__all__ = ["lm", "own_cache_folder"]
