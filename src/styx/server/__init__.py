"""The daemon: a plane and the HTTP surface in one process, from the first signal to the last."""
