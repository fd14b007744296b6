"""The endpoint of an agent: what it tells, and what it can be told to do."""
