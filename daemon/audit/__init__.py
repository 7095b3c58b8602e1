"""What was decided, looked at again by somebody else."""
