"""The command `audit`: findings of pairs and of the reference model, for people and as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from dpo_core.audit.findings import SEVERE
from tests.support.in_process import command
from tests.support.toys import toy_pairs


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
    done = command("audit", str(sweep), "--json", "--with-model", "--strict")
    assert done.returncode == 2, done.stderr
    report = json.loads(done.stdout)
    findings = {finding["code"]: finding for finding in report["findings"]}
    assert findings["contradicting"]["number"] == 5
    assert findings["contradicting"]["severity"] == SEVERE
    assert "out_of_distribution" in findings
    assert sum(report["pairs"].values()) == 45
    text = command("audit", str(sweep))
    assert text.returncode == 0, text.stderr
    assert "severe: 5 times the same two answers are preferred both ways" in text.stdout
    (first, second), *_ = re.findall(r"such as pairs:(\d+) and pairs:(\d+)", text.stdout)
    assert int(second) == int(first) + 40


def test_every_bad_row_is_found_whatever_the_kind_of_source(
    toy_model: Path, tmp_path: Path
) -> None:
    good = [[m[0]["content"] for m in (p.prompt, p.chosen)] for p in toy_pairs(60)]  # type: ignore[index]
    rows: dict[str, list[dict[str, object]]] = {
        "rankings": [{"prompt": p, "responses": [c, "no"], "ranks": [1, 2]} for p, c in good],
        "golden": [{"prompt": f"{p} Now?", "golden": c} for p, c in good],
        "red_team": [
            {"prompt": f"{p} Then?{end}", "response": response, "label": label}
            for p, c in good
            for response, label, end in ((c, "safe", ""), ("no", "harmful", "\n"))
        ],
    }
    for kind, each in rows.items():
        bad = [each[0] | {"prompt": 5}, each[1] | {"category": [7]}, {"prompt": "p"}]
        lines = [json.dumps(row) + "\n" for row in each + bad]
        (tmp_path / f"{kind}.jsonl").write_text("".join(lines))
    tree = {
        "name": "audited",
        "storage": str(tmp_path / "runs"),
        "model": {"path": str(toy_model)},
        "data": {
            "sources": [{"path": str(tmp_path / f"{kind}.jsonl"), "kind": kind} for kind in rows],
            "min_similarity": 1.0,
        },
        "space": "lora",
        "training": {"max_steps": 1},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(tree))
    done = command("audit", str(tmp_path / "sweep.yaml"), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["rows_skipped"]) == 9
    assert sum(report["pairs"].values()) == 180, "no half of the red-team file is lost"
    assert report["no_pair"] == {}
    (finding,) = [each for each in report["findings"] if each["code"] == "bad_rows"]
    assert (finding["severity"], len(finding["places"])) == (SEVERE, 5)


def test_audit_and_plan_list_the_columns(toy_model: Path, tmp_path: Path) -> None:
    rows = []
    for p in toy_pairs(40):
        prompt, chosen, rejected = (m[0]["content"] for m in (p.prompt, p.chosen, p.rejected))  # type: ignore[index]
        row = {"question": prompt, "chosen": chosen, "rejected": rejected, "stars": 4}
        rows.append(json.dumps(row) + "\n")
    (tmp_path / "orca.jsonl").write_text("".join(rows))
    tree = {
        "name": "audited",
        "storage": str(tmp_path / "runs"),
        "model": {"path": str(toy_model)},
        "data": {"path": str(tmp_path / "orca.jsonl")},
        "space": "lora",
        "training": {"max_steps": 1},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(tree))
    line = "orca is read as Orca pairs; used: question as prompt, chosen, rejected; ignored: stars"
    for name in ("audit", "plan"):
        assert line in command(name, str(tmp_path / "sweep.yaml")).stdout
    report = json.loads(command("plan", str(tmp_path / "sweep.yaml"), "--json").stdout)
    assert report["columns"]["orca"]["ignored"] == ["stars"]
    assert report["columns"]["orca"]["layout"] == "orca"
