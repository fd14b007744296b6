"""Event recorders `console`, `jsonl` and `null`."""
