"""Readings on disk that the database could not store yet."""
