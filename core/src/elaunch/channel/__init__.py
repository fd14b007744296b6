"""The agent's side of the channel on which workers tell how they go."""
