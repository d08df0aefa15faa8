"""The floors: the least that the same work can cost on this machine with Python, as small programs of their own."""
