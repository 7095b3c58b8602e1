"""What is kept, and what it promises: PostgreSQL, with TimescaleDB where it is there."""

from storage.migrations import SchemaError, check_version, confirm_version, is_guarded, migrate

__all__ = ["SchemaError", "check_version", "confirm_version", "is_guarded", "migrate"]
