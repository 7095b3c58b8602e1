"""What a site is: its settings, its archive of meters and accounts, its tariffs."""
