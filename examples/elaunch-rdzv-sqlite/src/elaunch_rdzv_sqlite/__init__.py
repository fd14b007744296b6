"""Rendezvous of agents on one host through an SQLite file."""
