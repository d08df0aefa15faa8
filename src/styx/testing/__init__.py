"""The public kit for tests: contracts that every implementation of a port passes."""
