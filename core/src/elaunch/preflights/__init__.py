"""The checks of a node that come with elaunch; each is imported when it is used."""
