"""The description of this node's hardware."""

from __future__ import annotations

import json
import os

import psutil

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
