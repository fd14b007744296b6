"""Spawner `local` and monitor `process`: workers that are processes of this host."""
