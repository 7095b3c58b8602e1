"""What a process needs to run well: tasks, systemd, garbage, the lag of the loop, logs."""
