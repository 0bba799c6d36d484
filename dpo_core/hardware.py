"""The hardware of a node, recorded because durations do not compare across machines."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

_CPUS = Path("/proc/cpuinfo")
_STATUS = Path("/proc/self/status")


def describe_hardware() -> dict[str, Any]:
    """Return host, platform, CPU, usable cores, memory and every visible GPU of this node."""
    import torch

    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [{"name": gpu.name, "memory_bytes": gpu.total_memory} for gpu in gpus],
    }


def peak_memory_bytes(device: str) -> int:
    """Return the most memory that this process has had: of its GPU, or resident. 0: nobody counts it."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    if _STATUS.is_file():
        for line in _STATUS.read_text("utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024
    return 0


def cpu_name() -> str:
    """Return the CPU model that the kernel names, or the architecture where it names none."""
    if _CPUS.is_file():
        for line in _CPUS.read_text("utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
