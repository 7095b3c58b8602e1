"""A site that lives a month in minutes: meters, database, daemon and customers on one clock."""
