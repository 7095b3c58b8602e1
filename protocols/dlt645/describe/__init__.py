"""Frames in words."""
