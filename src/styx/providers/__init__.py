"""Adapters of clouds and clusters, each in a room of its own. Providers do not know one another; `base` is what they share."""
