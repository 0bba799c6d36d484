"""The command `audit`: findings of pairs and of the reference model, for people and as JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dpo_core.audit.pair_checks import SEVERE
from tests.support.toys import toy_pairs


@pytest.mark.integration
def test_the_command_counts_and_locates_planted_defects(toy_model: Path, tmp_path: Path) -> None:
    rows = []
    for p in toy_pairs(40):
        sides = [m[0]["content"] for m in (p.prompt, p.chosen, p.rejected)]  # type: ignore[index]
        rows.append(dict(zip(("prompt", "chosen", "rejected"), sides, strict=True)))
    rows += [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows[:5]]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sweep = tmp_path / "sweep.yaml"
    tree = {
        "name": "audited",
        "storage": str(tmp_path / "runs"),
        "model": {"path": str(toy_model)},
        "data": {"path": str(data)},
        "space": "lora",
        "training": {"max_steps": 1},
    }
    sweep.write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "sweeps", "audit", str(sweep)]
    done = subprocess.run(
        [*command, "--json", "--with-model", "--strict"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    report = json.loads(done.stdout)
    findings = {finding["code"]: finding for finding in report["findings"]}
    assert findings["contradicting"]["number"] == 5
    assert findings["contradicting"]["severity"] == SEVERE
    assert "out_of_distribution" in findings
    assert sum(report["pairs"].values()) == 45
    text = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert text.returncode == 0, text.stderr
    assert "severe: 5 times the same two answers are preferred both ways" in text.stdout
    (first, second), *_ = re.findall(r"such as pairs:(\d+) and pairs:(\d+)", text.stdout)
    assert int(second) == int(first) + 40
