"""What a line does next. Pure: the time is handed in."""
