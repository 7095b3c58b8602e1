"""What a process needs to run well: supervised tasks, systemd, the collector of garbage, the lag of
the loop, logs."""
