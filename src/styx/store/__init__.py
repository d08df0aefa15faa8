"""Durability: the port, and the two stores that pass its contract."""
