"""The section on provenance: data, weights, seeds, versions, hardware, cost, the whole config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from sweeps.config.changes import in_words
from sweeps.report import formatting
from sweeps.report.blocks import Block, Column, Facts, Row, Section, Source, Table, number, table
from sweeps.report.file_types import NodeJson
from sweeps.report.report_data import ReportData
from sweeps.run_dir.adapter_coverage import coverage_in_words
from sweeps.run_dir.json_types import ConfigChangeJson, OpeningJson
from sweeps.run_dir.prepared import precision_in_words

_Hash = Literal["data_sha256", "weights_sha256", "tokenizer_sha256"]
_HASHES: dict[_Hash, str] = {
    "data_sha256": "SHA-256 of the pairs",
    "weights_sha256": "SHA-256 of the weights",
    "tokenizer_sha256": "SHA-256 of the tokenizer",
}


def provenance_section(data: ReportData) -> Section:
    """Show from what the sweep was computed, and on what."""
    blocks: list[Block] = [_facts(data)]
    versions = _versions(data)
    if versions:
        columns = [Column("package"), Column("version")]
        rows = [Row((name, ", ".join(sorted(several)))) for name, several in versions.items()]
        blocks.append(table("Versions that trained the trials", columns, rows))
    if data.nodes:
        columns = [Column("node"), Column("CPU"), number("cores"), number("memory"), Column("GPUs")]
        rows = [_node(node) for node in data.nodes]
        blocks.append(table("Nodes that trained the trials", columns, rows))
    if data.config_changes:
        blocks.append(_config_changes(data.config_changes))
    openings = data.selection.get("final_opened") or []
    if openings:
        blocks.append(_openings(list(openings)))
    blocks.append(Source("config.yaml", data.config_text))
    return Section("provenance", "Provenance", tuple(blocks))


def cost(data: ReportData) -> str:
    """Return the wall-clock time of the ended trials, and the CPU and GPU time that they reserved."""
    seconds = sum(record.seconds for record in data.ended_trials)
    resources = data.config.resources
    cpus = f"{seconds * resources.workers * resources.cpus_per_worker:,.0f} CPU seconds"
    gpus = seconds * resources.workers * resources.gpus_per_worker
    reserved = f"{gpus:,.0f} GPU seconds, {cpus}" if gpus else cpus
    return f"{formatting.duration(seconds)} of trials; reserved: {reserved}"


def _facts(data: ReportData) -> Facts:
    config, prepared = data.config, data.prepared
    coverage = prepared.get("adapter_coverage")
    precision = precision_in_words(
        prepared.get("score_dtype", ""), prepared.get("model_noise", 0.0)
    )
    return Facts(
        (
            ("folder", data.folder),
            ("base model", config.model.path),
            ("data", ", ".join(source.path for source in config.data.all_sources)),
            ("seed of the sweep", str(config.seed)),
            ("workers per trial", str(config.resources.workers)),
            ("cost of the ended trials", cost(data)),
            *((("held-out scores", precision),) if precision else ()),
            *(
                (("weights that the adapter changes", coverage_in_words(coverage)),)
                if coverage
                else ()
            ),
            *_export(data),
            *((title, prepared[key]) for key, title in _HASHES.items() if prepared.get(key)),
        )
    )


def _export(data: ReportData) -> list[tuple[str, str]]:
    """Say how the exported weights are stored, and what that costs of the winner's margins."""
    winner = data.selection.get("winner")
    stored = winner and winner.get("stored")
    if not stored:
        return []
    how = stored["dtype"] or "the LoRA adapter alone"
    lost = f"{100 * stored['lost']:.1f} % of the margins on select are lost"
    means = f"their mean is {stored['stored']:.3g} of {stored['chosen']:.3g} nats"
    return [("weights in best/", f"{how}; {lost} ({means})")]


def _node(node: NodeJson) -> Row:
    counts = Counter(gpu["name"] for gpu in node["gpus"])
    gpus = ", ".join(f"{count} × {name}" for name, count in counts.items())
    memory = f"{node['memory_bytes'] / 2**30:.1f} GiB"
    return Row((node["host"], node["cpu"], str(node["cores"]), memory, gpus or formatting.MISSING))


def _config_changes(changes: Sequence[ConfigChangeJson]) -> Table:
    columns = [Column("when"), Column("key"), Column("before", wide=True), Column("now", wide=True)]
    rows = [
        Row((each["when"], each["key"], in_words(each["old"]), in_words(each["new"])))
        for each in changes
    ]
    return table("Keys that changed when the sweep went on", columns, rows)


def _openings(openings: list[OpeningJson]) -> Table:
    columns = [
        Column("when"),
        Column("why", wide=True),
        Column("against", wide=True),
        number("opening of its prompts"),
        number("declared"),
        Column("forced"),
    ]
    rows = [
        Row(
            (
                opening["when"],
                opening["why"],
                formatting.value(opening.get("against")),
                formatting.value(opening.get("number")),
                formatting.value(opening.get("declared")),
                formatting.value(bool(opening.get("forced"))),
            )
        )
        for opening in openings
    ]
    return table("Openings of the final split", columns, rows)


def _versions(data: ReportData) -> dict[str, set[str]]:
    """Return the versions of each package; several where a sweep was resumed after an upgrade."""
    versions: dict[str, set[str]] = {}
    for record in data.ended_trials:
        for name, version in record.versions.items():
            versions.setdefault(name, set()).add(str(version))
    return versions
