"""The story of a run, from the events of all its nodes."""
