"""Ports for servers that tests start."""

import socket


def free_port() -> int:
    """Return a port that nothing listens on, on any interface: the test cluster puts pods on the host's network."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
