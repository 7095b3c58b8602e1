"""Documents: what changes a dated fact after readings or money stand behind it (R26)."""
