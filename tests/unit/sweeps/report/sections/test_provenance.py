"""Tests of the section on provenance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeps.report.blocks import Facts, Source
from sweeps.report.report_data import ReportData
from sweeps.report.sections.provenance import cost, provenance_section
from tests.support.report_sections import cells_by_column, tables


def facts_of(data: ReportData) -> dict[str, str]:
    blocks = provenance_section(data).blocks
    return {n: text for b in blocks if isinstance(b, Facts) for n, text in b.items}


def test_the_data_the_hashes_and_the_config_are_shown(ended: ReportData) -> None:
    section = provenance_section(ended)
    [facts] = [dict(block.items) for block in section.blocks if isinstance(block, Facts)]
    assert facts["data"] == "pairs.jsonl"
    assert facts["base model"] == "models/tiny"
    assert facts["folder"] == ended.folder
    assert facts["SHA-256 of the pairs"] == "d" * 64
    assert facts["SHA-256 of the weights"] == "e" * 64
    assert facts["SHA-256 of the tokenizer"] == "f" * 64
    assert section.blocks[-1] == Source("config.yaml", ended.config_text)


@pytest.mark.parametrize(
    ("dtype", "shown"),
    [
        (
            "float32",
            "float32; the model's own dtype would move a margin by 0.62 nats (root mean square)",
        ),
        ("bfloat16", "bfloat16, which moves a margin by 0.62 nats (root mean square)"),
    ],
)
def test_the_precision_of_scores_is_shown_where_the_models_is_another(
    ended: ReportData, dtype: str, shown: str
) -> None:
    assert "held-out scores" not in facts_of(ended)
    prepared = {**ended.prepared, "score_dtype": dtype, "model_noise": 0.6234}
    assert facts_of(replace(ended, prepared=prepared))["held-out scores"] == shown


def test_what_the_adapter_changes_is_shown(ended: ReportData) -> None:
    name = "weights that the adapter changes"
    assert name not in facts_of(ended)
    left_out = {"experts.down_proj": 600}
    coverage = {"body": 1000, "adapted": 400, "trained": 9, "folded": 0, "left_out": left_out}
    data = replace(ended, prepared={**ended.prepared, "adapter_coverage": coverage})
    assert facts_of(data)[name].startswith("40 % of the body (")
    assert facts_of(data)[name].endswith("left out: experts.down_proj 60 %")


def test_several_versions_of_a_package_are_all_named(ended: ReportData) -> None:
    first, second, *rest = ended.ended_trials
    upgraded = [replace(first, versions={"torch": "2.9.0"}), second, *rest]
    section = provenance_section(replace(ended, ended_trials=upgraded))
    rows = cells_by_column(tables(section)["Versions that trained the trials"])
    assert {row["package"]: row["version"] for row in rows} == {
        "torch": "2.13.0, 2.9.0", "trl": "1.16.0",
    }  # fmt: skip


def test_a_node_has_its_gpus_counted(ended: ReportData) -> None:
    node = {"host": "gpu-7", "cpu": "Xeon", "cores": 16, "memory_bytes": 2**35}
    gpus = [{"name": "H200"}, {"name": "H200"}, {"name": "L4"}]
    nodes = [{**node, "gpus": gpus}, {**node, "gpus": []}]
    section = provenance_section(replace(ended, nodes=nodes))
    rows = cells_by_column(tables(section)["Nodes that trained the trials"])
    assert tuple(rows[0].values()) == ("gpu-7", "Xeon", "16", "32.0 GiB", "2 × H200, 1 × L4")
    assert rows[1]["GPUs"] == "–"


def test_each_opening_of_the_final_split_is_on_record(ended: ReportData) -> None:
    [row] = cells_by_column(tables(provenance_section(ended))["Openings of the final split"])
    [opening] = ended.selection["final_opened"]
    assert tuple(row.values()) == (opening["when"], opening["why"], "reference", "1", "1", "no")
    earlier = {"when": "2026-01-01", "why": "t0000", "forced": True}  # before there was a register
    selection = {**ended.selection, "final_opened": [earlier]}
    section = provenance_section(replace(ended, selection=selection))
    [row] = cells_by_column(tables(section)["Openings of the final split"])
    assert tuple(row.values()) == ("2026-01-01", "t0000", "–", "–", "–", "yes")


def test_the_cost_counts_what_the_trials_reserved(ended: ReportData) -> None:
    seconds = 61.5 * 11
    assert cost(ended) == f"11 min 16 s of trials; reserved: {seconds:.0f} CPU seconds"
    resources = ended.config.resources.model_copy(
        update={"workers": 2, "cpus_per_worker": 3, "gpus_per_worker": 1}
    )
    config = ended.config.model_copy(update={"resources": resources})
    assert cost(replace(ended, config=config)) == (
        "11 min 16 s of trials; reserved: 1,353 GPU seconds, 4,059 CPU seconds"
    )


@pytest.mark.parametrize(
    ("dtype", "shown"),
    [
        (
            "bfloat16",
            "bfloat16; 0.8 % of the margins on select are lost (their mean is 2.17 of 2.18 ",
        ),
        (None, "the LoRA adapter alone; 0.8 % of the margins on select are lost"),
    ],
)
def test_how_the_weights_are_stored_is_shown(
    ended: ReportData, dtype: str | None, shown: str
) -> None:
    stored = {"dtype": dtype, "chosen": 2.18, "stored": 2.17, "lost": 0.008}
    winner = {**ended.selection["winner"], "stored": stored}
    data = replace(ended, selection={**ended.selection, "winner": winner})
    assert facts_of(data)["weights in best/"].startswith(shown)
    winner.pop("stored")
    assert "weights in best/" not in facts_of(data)
