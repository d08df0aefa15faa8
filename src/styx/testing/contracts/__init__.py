"""One suite a port: derive a test class from it and name the implementation."""
