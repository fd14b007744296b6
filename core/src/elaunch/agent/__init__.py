"""The agent: a pure machine that decides, and one driver that performs."""
