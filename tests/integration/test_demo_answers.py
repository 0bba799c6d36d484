"""The demo convinces: its winner's answers to all held-out prompts, beside those of the base model.

Takes six minutes and both cores, so run it alone, with `-n 0 -m slow -s` to see the numbers.
Advice is counted by `sweeps.demo.advice`, loops by `dpo_core.evaluation.failure_modes`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dpo_core.encoding.token_table import TokenIds
from dpo_core.evaluation.failure_modes import loops
from dpo_core.models.generation import Answer, generate_greedily
from dpo_core.models.load import load_model, load_tokenizer
from dpo_core.settings import ModelSettings
from sweeps.demo.advice import sends_to_professional
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import read_encoded
from tests.support.repository import ROOT

_MEASURE = "DPO_SWEEPS_MEASURE_DEMO"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        _MEASURE not in os.environ,
        reason=f"a measurement of the whole demo, on two idle cores: set {_MEASURE}=1",
    ),
]

MORE_ADVICE, MORE_LOOPS, MORE_LIKELY = 9, 4, 0.15


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepPaths, dict[str, Any], str]:
    """The run directory, the selection, and what the command printed."""
    storage, begun = tmp_path_factory.mktemp("demo"), time.monotonic()
    command = [sys.executable, "-m", "sweeps", "demo", "--storage", str(storage)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    print(f"\nthe demo took {time.monotonic() - begun:.0f} s\n{done.stderr}\n{done.stdout}")
    [folder] = (path.parent for path in storage.glob("*/selection.json"))
    selection = json.loads((folder / "selection.json").read_text())
    return SweepPaths.of_folder(str(folder)), selection, done.stderr + done.stdout


def test_the_verdict_and_no_warning_about_its_size(
    demo: tuple[SweepPaths, dict[str, Any], str],
) -> None:
    _, selection, printed = demo
    assert selection["verdict"]["word"] == "better"
    assert "use at least" not in printed
    assert "send the person to a doctor" in printed


def test_likelihood_accuracy_rises_on_final(demo: tuple[SweepPaths, dict[str, Any], str]) -> None:
    _, selection, _ = demo
    before = selection["reference"]["final"]["likelihood_accuracy"]
    after = selection["final"]["likelihood_accuracy"]
    print(f"likelihood accuracy on final {before:.3f} -> {after:.3f}")
    assert after - before >= MORE_LIKELY


def test_answers_to_all_held_out_prompts(demo: tuple[SweepPaths, dict[str, Any], str]) -> None:
    paths, _, _ = demo
    config = read_config(paths)
    pairs = (pair for split in ("select", "final") for pair in read_encoded(paths, split))
    prompts = list(dict.fromkeys(pair.prompt for pair in pairs))
    tokens = config.selection.sample_tokens
    assert tokens <= 128
    before = answers_of(config.model, prompts, tokens)
    best = ModelSettings(path=str(Path(paths.store.uri) / paths.best))
    after = answers_of(best, prompts, tokens)
    counts = {
        name: (
            sum(sends_to_professional(answer.text) for answer in answers),
            sum(loops(answer.tokens) for answer in answers),
        )
        for name, answers in (("base", before), ("winner", after))
    }
    print(f"of {len(prompts)}, advice and loops: {counts}")
    assert counts["winner"][0] - counts["base"][0] >= MORE_ADVICE
    assert counts["winner"][1] - counts["base"][1] <= MORE_LOOPS


def answers_of(settings: ModelSettings, prompts: Sequence[TokenIds], tokens: int) -> list[Answer]:
    model, tokenizer = load_model(settings), load_tokenizer(settings)
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    answers: dict[int, Answer] = {}
    for start in range(0, len(order), 16):
        batch = order[start : start + 16]
        part = generate_greedily(model, tokenizer, [prompts[n] for n in batch], tokens)
        answers.update(zip(batch, part, strict=True))
    return [answers[number] for number in range(len(prompts))]
