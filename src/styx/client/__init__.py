"""The verbs of ControlPlane over HTTP: `styx.Client`."""
