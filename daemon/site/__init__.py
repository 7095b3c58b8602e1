"""From a site's configuration to running lines, and what a changed one means for those that run."""
