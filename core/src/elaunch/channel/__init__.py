"""The agent's side of the channel on which workers tell how they go."""

CHANNEL = "ELAUNCH_CHANNEL"
"""Variable that tells a worker where its socket is."""
