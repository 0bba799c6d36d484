"""A run directory after `prepare`: golden answers are stored, tokens mapped, the audit written."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from dpo_core.errors import UserError
from dpo_core.models.golden_answers import PAIRS_PER_PART
from dpo_core.storage.json_content import decode_json
from dpo_core.storage.store import Store
from sweeps.config.load import parse_sweep
from sweeps.config.schema import SweepConfig
from sweeps.prepare.data import read_data, reading_report, split_data
from sweeps.prepare.pipeline import prepare
from sweeps.prepare.reuse import reusable_preparation
from sweeps.ray_runtime.connect import connected
from sweeps.ray_runtime.remote_call import remote_call_for
from sweeps.run_dir.paths import SPLITS, SweepPaths
from sweeps.run_dir.prepared import Prepared, read_encoded, read_pairs
from tests.support.cluster import ray_processes
from tests.support.toys import write_toy_pairs

GOLDEN = 5 * PAIRS_PER_PART


@pytest.fixture
def config(toy_model: Path, tmp_path: Path) -> SweepConfig:
    rows = [
        {"prompt": f"{n}: may I take {n} of them?", "golden": f"Ask about {n} first."}
        for n in range(GOLDEN)
    ]
    experts = tmp_path / "experts.jsonl"
    experts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_toy_pairs(tmp_path / "humans.jsonl", 60)
    return parse_sweep(
        f"name: toy\nstorage: {tmp_path}/runs\nmodel: {{path: {toy_model}}}\nspace: lora\n"
        f"data:\n  sources: [{{path: {tmp_path}/humans.jsonl}}, "
        f"{{path: {experts}, kind: golden}}]\n  generation: {{max_new_tokens: 4}}\n"
        "  min_similarity: 1.0\n"
        "training: {max_steps: 4}\nsearch: {concurrent: 2}\n",
        source="sweep.yaml",
    )


class Here:
    """Runs calls in this process, whoever asks; counts them and may die at one."""

    def __init__(self, dies_at: int = -1) -> None:
        self.calls: list[tuple[str, Any, int]] = []
        self.dies_at = dies_at
        self.numbers = itertools.count()
        self.one_at_a_time = threading.Lock()  # two models are not loaded in one process at once

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if next(self.numbers) == self.dies_at:
            raise UserError("killed")
        self.calls.append((function.__name__, arguments[1:], threading.get_ident()))
        with self.one_at_a_time:
            return function(*arguments)


def prepared(config: SweepConfig, sweep_id: str, call: Here) -> tuple[SweepPaths, Prepared]:
    paths = SweepPaths(Store.open(config.storage), sweep_id)
    data = read_data(config)
    splits = split_data(config, data)
    return paths, prepare(config, paths, splits, reading_report(data, splits), call)


def test_golden_prompts_go_to_all_workers_and_go_on_after_a_kill(
    config: SweepConfig,
) -> None:
    with pytest.raises(UserError, match="killed"):
        prepared(config, "toy-1", Here(dies_at=1))
    cache = Store.open(config.storage).at(".cache/reference/golden")
    for thread in threading.enumerate():  # `prepare` did not wait for the other share
        if "ThreadPoolExecutor" in thread.name:
            thread.join()
    first = {name: cache.read(name) for name in cache.names()}
    assert 0 < len(first) < GOLDEN // PAIRS_PER_PART + 3, "one share was answered and kept"
    call = Here()
    paths, made = prepared(config, "toy-1", call)
    names, shares, threads = zip(*call.calls, strict=True)
    assert names == ("_generate_share", "_generate_share", "_prepare_on_worker")
    assert {tuple(share) for share in shares[:2]} == {(0, 2), (1, 2)}
    assert threading.get_ident() not in threads[:2], "each share has a thread that waits for it"
    every = {name: cache.read(name) for name in cache.names()}
    assert every.items() > first.items()
    answers = {text for content in every.values() for text in decode_json(content)["texts"]}
    pairs = [
        json.loads(s) for split in SPLITS for s in paths.store.read(paths.split(split)).splitlines()
    ]
    own = [pair for pair in pairs if pair["source"] == "experts"]
    assert len(own) + len(made.golden_dropped) == GOLDEN
    assert {pair["rejected"][-1]["content"] for pair in own} <= answers
    assert sum(getattr(read_pairs(paths), split).unanswered_count for split in SPLITS) == GOLDEN
    assert reusable_preparation(paths) == Prepared.read(paths), "a prepared sweep asks nobody"


def test_the_audit_is_left_for_the_report(config: SweepConfig) -> None:
    paths, made = prepared(config, "toy-2", Here())
    audit = decode_json(paths.store.read(paths.audit))
    assert audit["pairs"] == {split: len(read_encoded(paths, split)) for split in SPLITS}
    assert audit["prompts"] == sum(audit["pairs"].values())
    findings = {finding["code"]: finding for finding in audit["findings"]}
    assert "without the golden answers" in findings["out_of_distribution"]["message"]
    assert findings["reference_ranks_right"]["is_share"]
    assert list(made.findings) == audit["findings"]
    assert sum(audit["histogram"]["chosen"]["counts"]) == sum(audit["pairs"].values())
    assert set(audit["lengths"]["prompt"]) == {"p5", "p50", "p95", "p99", "p100"}


def test_tokens_are_mapped_and_not_copied(config: SweepConfig) -> None:
    paths, _ = prepared(config, "toy-3", Here())
    before = pa.total_allocated_bytes()
    tables = [read_encoded(paths, "train") for _ in range(20)]
    assert all(len(table) for table in tables)
    assert pa.total_allocated_bytes() == before, "twenty trials, no copy"


@pytest.mark.ray
@pytest.mark.integration
def test_two_workers_answer_and_one_that_is_killed_goes_on(
    config: SweepConfig, ray_cluster: str
) -> None:
    """The same answers as in one process, to the last character."""
    slow = {"generation": config.data.generation.model_copy(update={"max_new_tokens": 60})}
    config = config.model_copy(update={"data": config.data.model_copy(update=slow)})
    # One share, for threads of one process would share torch's random numbers.
    one = {"search": config.search.model_copy(update={"concurrent": 1})}
    alone = config.model_copy(update={**one, "storage": f"{config.storage}-alone"})
    expected = prepared(alone, "toy-1", Here())[0].reference_cache.at("golden")
    data = read_data(config)
    paths = SweepPaths(Store.open(config.storage), "toy-1")
    cache = paths.reference_cache.at("golden")
    killed = False
    with connected(), ThreadPoolExecutor(1) as pool:
        splits = split_data(config, data)
        said = reading_report(data, splits)
        preparing = pool.submit(prepare, config, paths, splits, said, remote_call_for(config))
        while not preparing.done():
            workers = answering()
            if not killed and len(workers) == 2 and cache.names():
                workers[0].kill()
                killed = True
            time.sleep(0.05)
        preparing.result()
    assert killed, "one of two that were answering"
    assert cache.names() == expected.names()
    assert all(cache.read(name) == expected.read(name) for name in cache.names())


def answering() -> list[psutil.Process]:
    found = []
    for process in ray_processes():
        with contextlib.suppress(psutil.Error):  # it just ended
            if "_generate_share" in " ".join(process.cmdline()):
                found.append(process)
    return found
