"""The command line: one file a verb, each loaded when it is used, so that `styx --help` starts nearly as fast as Python."""
