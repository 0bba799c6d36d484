"""Where it all comes from: data, weights, seeds, versions, hardware, cost, and the whole config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sweeps.report import formatting
from sweeps.report.blocks import Block, Column, Facts, Row, Section, Source, number, table
from sweeps.report.report_data import Evidence


def provenance_section(evidence: Evidence) -> Section:
    config, prepared = evidence.config, evidence.prepared
    sources = ", ".join(source.path for source in config.data.all_sources)
    items = [
        ("folder", evidence.folder),
        ("base model", config.model.path),
        ("data", sources),
        ("seed of the sweep", str(config.seed)),
        ("workers a trial", str(config.resources.workers)),
        ("cost of the ended trials", cost(evidence)),
        *((title, str(prepared[key])) for key, title in _HASHES.items() if prepared.get(key)),
    ]
    blocks: list[Block] = [Facts(tuple(items))]
    versions = _versions(evidence)
    if versions:
        columns = [Column("package"), Column("version")]
        rows = [Row((name, ", ".join(sorted(seen)))) for name, seen in versions.items()]
        blocks.append(table("Versions that trained the trials", columns, rows))
    if evidence.nodes:
        columns = [Column("node"), Column("CPU"), number("cores"), number("memory"), Column("GPUs")]
        rows = [_node(node) for node in evidence.nodes]
        blocks.append(table("Nodes that trained", columns, rows))
    opened = evidence.selection.get("final_opened") or []
    if opened:
        columns = [Column("when"), Column("why", wide=True), Column("forced")]
        rows = [
            Row((str(o.get("when")), str(o.get("why")), formatting.value(bool(o.get("forced")))))
            for o in opened
        ]
        blocks.append(table("Openings of the final split", columns, rows))
    blocks.append(Source("config.yaml", evidence.config_text))
    return Section("provenance", "Provenance", tuple(blocks))


def cost(evidence: Evidence) -> str:
    """Wall clock of the ended trials, and what they held of the cluster meanwhile."""
    seconds = sum(record.seconds for record in evidence.ended)
    resources = evidence.config.resources
    cpus = seconds * resources.workers * resources.cpus_per_worker
    gpus = seconds * resources.workers * resources.gpus_per_worker
    held = (
        f"{gpus:,.0f} GPU seconds, {cpus:,.0f} CPU seconds" if gpus else f"{cpus:,.0f} CPU seconds"
    )
    return f"{formatting.duration(seconds)} of trials: {held}"


def _node(node: Mapping[str, Any]) -> Row:
    counted = Counter(gpu["name"] for gpu in node["gpus"])
    gpus = ", ".join(f"{count} × {name}" for name, count in counted.items())
    memory = f"{node['memory_bytes'] / 2**30:.1f} GiB"
    return Row((node["host"], node["cpu"], str(node["cores"]), memory, gpus or formatting.MISSING))


_HASHES = {
    "data_sha256": "SHA-256 of the pairs",
    "weights_sha256": "SHA-256 of the weights",
    "tokenizer_sha256": "SHA-256 of the tokenizer",
}


def _versions(evidence: Evidence) -> dict[str, set[str]]:
    """More than one where a sweep was resumed after an upgrade."""
    found: dict[str, set[str]] = {}
    for record in evidence.ended:
        for name, version in record.versions.items():
            found.setdefault(name, set()).add(str(version))
    return found
