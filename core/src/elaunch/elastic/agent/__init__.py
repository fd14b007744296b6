"""See `elaunch.elastic.agent.server`."""
