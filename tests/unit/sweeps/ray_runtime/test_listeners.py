"""Addresses, and whether something listens there."""

from __future__ import annotations

import socket

import pytest

from sweeps.ray_runtime.listeners import host_and_port, why_silent


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:6379", ("127.0.0.1", 6379)),
        ("[::1]:6379", ("::1", 6379)),
        ("head:99999", ("head", None)),
        ("head:", ("head", None)),
        ("head", ("", None)),
        ("", ("", None)),
    ],
)
def test_an_address_is_divided(address: str, parts: tuple[str, int | None]) -> None:
    assert host_and_port(address) == parts


def test_what_listens_is_heard_and_what_has_ended_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert why_silent("127.0.0.1", port) is None
    assert why_silent("127.0.0.1", port) == "Connection refused"
    assert why_silent("\0", port)
