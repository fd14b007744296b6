"""Spawner `local` and """
