"""The test session's own Ray cluster: its processes, what it holds, its dashboard and metrics."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.request

import psutil


def ray_processes() -> list[psutil.Process]:
    """Every process of the session's cluster, workers included."""
    return psutil.Process(int(os.environ["TEST_RAY_HEAD"])).children(recursive=True)


def leaked() -> list[str]:
    """Worker groups and CPUs of the session's cluster that are held, though nothing runs."""
    import ray
    from ray.util.placement_group import placement_group_table

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
    try:
        groups = [g for g in placement_group_table().values() if g["state"] != "REMOVED"]
        missing = ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0)
        return [*(str(group) for group in groups), *([f"{missing} CPUs"] if missing else [])]
    finally:
        ray.shutdown()


def exported_metrics() -> str:
    """What the cluster's node exports to Prometheus; empty before it does."""
    with contextlib.suppress(OSError):
        return get(f"http://127.0.0.1:{os.environ['TEST_RAY_METRICS']}/metrics").decode()
    return ""


def get(url: str, timeout: float = 30) -> bytes:
    """A page of the cluster's dashboard, with the session's token."""
    token = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    request = urllib.request.Request(url, headers=token)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        content: bytes = answer.read()
        return content


def _wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            get(url, timeout=2)
            return
        time.sleep(0.3)
    raise RuntimeError(f"{url} did not answer within {seconds} s; ray start: {process.poll()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answer(url: str, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as page:
            return int(page.status)
    except urllib.error.HTTPError as error:
        return error.code
