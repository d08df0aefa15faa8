"""What crosses a wire: agent and server, agent and owner, client and server. Structs and codecs, no I/O."""
