"""The agent: the program on a machine that takes attempts from a server and has its owner process run them.

`session` is its half of the protocol without any I/O, `runner` joins a session to an owner and to a server, `owner` is the
process that holds the programs and outlives the agent.
"""
