"""Supply: the guard, and the life of a command."""
