"""The description of this node's hardware."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from dpo_core import hardware


def test_this_node() -> None:
    description = hardware.describe_hardware()
    assert json.loads(json.dumps(description)) == description
    assert description["host"] == os.uname().nodename
    assert description["cores"] == len(psutil.Process().cpu_affinity())
    assert description["memory_bytes"] == psutil.virtual_memory().total
    assert description["cpu"]


def test_a_processor_without_a_model_name_still_has_one(tmp_path, monkeypatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    monkeypatch.setattr(hardware, "_CPUS", file)
    assert hardware.cpu_name()
    file.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2: GHz\n")
    assert hardware.cpu_name() == "Some CPU @ 2: GHz"


def test_the_peak_of_resident_memory_is_at_least_what_is_resident_now() -> None:
    assert hardware.peak_memory_bytes("cpu") >= psutil.Process().memory_info().rss // 2 > 0


def test_a_machine_that_does_not_count_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_STATUS", Path("/nowhere"))
    assert hardware.peak_memory_bytes("cpu") == 0
