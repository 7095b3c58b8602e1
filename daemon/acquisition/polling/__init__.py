"""The one exchange that runs a million times a day, for one line and for many lines at once."""
