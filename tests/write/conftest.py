"""A cache of its own for each test."""

from tests.tiny_fixtures import own_cache_folder

__all__ = ["own_cache_folder"]
