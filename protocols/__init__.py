"""The wire: bytes to readings and back. Imports nothing of the other packages."""
