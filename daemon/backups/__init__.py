"""Backups: made while the daemon works, proved by being restored, put back."""
