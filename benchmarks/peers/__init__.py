"""The same works through other planes: one program a peer, run by the Python of the peer's own virtual environment.

`make bench-peers` installs each from its requirements file here into `.venvs/`. A program prints one document as our own questions do; it
uses nothing of Styx. What handicaps the peer, and what it cannot do, the program says itself.
"""
