"""Questions to the running system: one file for each kind of question."""
