"""What an engineer does over a cable: no daemon, no database."""
