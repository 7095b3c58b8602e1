"""Lines and what is read on them: one task owns one channel; the plan is the gap."""
