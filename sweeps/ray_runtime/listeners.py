"""A look at whether something listens at host:port, before Ray is asked, which would wait for minutes.

Tested in tests/unit/sweeps/ray_runtime/test_listeners.py.
"""

from __future__ import annotations

import socket


def host_and_port(address: str) -> tuple[str, int | None]:
    """Divide host:port, where the host may be an IPv6 address in brackets.

    Args:
        address: Such as 127.0.0.1:6379.

    Returns:
        The host, and the port; None where there is no number that a port can have.
    """
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() and int(port) < 2**16 else None


def why_silent(host: str, port: int, timeout_s: float = 5) -> str | None:
    """Try to open a connection.

    Args:
        host: Name or address.
        port: The port.
        timeout_s: Seconds after which the host counts as silent.

    Returns:
        Why none can be opened, or None if it can.
    """
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return None
