"""Whole sweep folders without training: a scripted policy, written by the project's own writers.

The policy ranks pairs better the nearer its point is to (0.1, 1e-5), and drifts with the learning
rate; everything else (splits, tokens, outcomes, ledger, points) is what a sweep leaves.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpo_core.encoding.token_table import EncodedPair, TokenTable, encoding_report
from dpo_core.evaluation.outcomes import Outcomes, write_outcomes
from dpo_core.hyperparams import DPOHyperparams
from dpo_core.preferences import LoadedData, PairTable, PreferencePair, split_lines
from dpo_core.storage.store import Store
from sweeps.config.load import parse_sweep, resolved
from sweeps.config.schema import SweepConfig
from sweeps.config.strict_yaml import dump_yaml
from sweeps.finalize.export import export_and_score
from sweeps.finalize.finalize import finalize_sweep
from sweeps.prepare.data import split_data
from sweeps.run_dir import ledger
from sweeps.run_dir.ledger import TrialRecord, evaluation_record
from sweeps.run_dir.paths import SPLITS, SweepPaths, SweepRef
from sweeps.run_dir.prepared import Prepared
from sweeps.selection.candidates import CandidateRules
from tests.support.exported_models import write_best

YAML = """\
name: scripted
model: {path: models/tiny, dtype: float32}
data: {path: pairs.jsonl, min_similarity: 1.0}
space:
  beta: {log_uniform: [0.01, 0.5]}
  learning_rate: {log_uniform: [1e-6, 1e-4]}
  length_norm: {choice: [none, mean, simpo]}
  gamma_ratio: {uniform: [0.1, 0.8], when: {length_norm: simpo}}
training: {max_steps: 40, evaluations: 4}
search: {trials: 12}
"""
STEPS = (10, 20, 30, 40)
MEAN_TOKENS = 20.0


class ScriptedSweep:
    """A sweep's folder that grows trial by trial."""

    def __init__(
        self, folder: Path | str, pairs: Sequence[PreferencePair], overrides: Sequence[str] = ()
    ) -> None:
        storage, _, sweep_id = str(folder).rpartition("/")
        self.config: SweepConfig = parse_sweep(YAML, source="sweep.yaml", overrides=overrides)
        self.paths = SweepPaths(Store.open(storage), sweep_id)
        self.splits = split_data(self.config, LoadedData(PairTable.of(pairs), {}))
        self.encoded = {s: _encoded(getattr(self.splits, s)) for s in SPLITS}
        self.answer = "Please ask the pharmacist, says {whom}."
        self.points = self._draw(random.Random(self.config.seed))
        self._write_prepared()

    @property
    def objective(self) -> str:
        return self.config.selection.objective

    def draw(self, number: int, **changes: Any) -> dict[str, Any]:
        """Write the point of a trial, which is open from now on."""
        name, point = SweepPaths.trial_name(number), {**self.points[number], **changes}
        row = {"trial": name, "point": point}
        self.paths.store.write(self.paths.point(name), json.dumps(row).encode())
        return point

    def evaluate(self, number: int, point: dict[str, Any], steps: Sequence[int] = STEPS) -> None:
        for step in steps:
            about = {"trial": SweepPaths.trial_name(number), "step": step, "split": "select"}
            content = write_outcomes(
                self.outcomes(point, step, "select"), {**about, "loss": 0.69 - 0.001 * step}
            )
            self.paths.store.write(self.paths.outcome(about["trial"], step), content)
            self.paths.store.write(f"{self.paths.checkpoint(about['trial'], step)}/weights", b"")

    def end(self, number: int, status: str = ledger.FINISHED, **changes: Any) -> TrialRecord:
        """Draw, evaluate and record a trial; `steps` and axes may be given."""
        steps = changes.pop("steps", STEPS)
        reason, detail = changes.pop("reason", None), changes.pop("detail", None)
        point, name = self.draw(number, **changes), SweepPaths.trial_name(number)
        self.evaluate(number, point, steps)
        labels = {k: {p.id: getattr(p, k) for p in self.encoded["select"]} for k in _LABELS}
        rules = CandidateRules.read(self.paths, self.config.selection)
        outcomes_at = {s: self.outcomes(point, s, "select") for s in steps}
        evaluations = tuple(
            evaluation_record(
                {"step": s, "loss": 0.69 - 0.001 * s}, o, labels, rules.all_violations(o)
            )
            for s, o in outcomes_at.items()
        )
        record = TrialRecord(
            trial=name,
            point=point,
            status=status,
            seed=self.config.seed,
            evaluations=evaluations,
            reason=reason,
            detail=detail,
            seconds=61.5,
            ended="2026-01-01T00:00:00+00:00",
            loss_beta=DPOHyperparams.from_point(point).loss_beta(MEAN_TOKENS),
            versions={"torch": "2.13.0", "trl": "1.16.0"},
        )
        ledger.append(self.paths.store, self.paths.ledger, record)
        return record

    def outcomes(self, point: dict[str, Any], step: int, split: str) -> Outcomes:
        pairs = self.encoded[split]
        rng = np.random.default_rng([step, *f"{sorted(point.items())}{split}".encode()])
        lengths = [
            np.array([len(getattr(p, side)) for p in pairs]) for side in ("chosen", "rejected")
        ]
        reference = [-2.0 * n + rng.normal(0, 1, len(pairs)) for n in lengths]
        miss = abs(math.log10(point["learning_rate"] / 1e-5)) + abs(math.log10(point["beta"] / 0.1))
        skill = (1.8 - 0.8 * miss) * math.sqrt(step / STEPS[-1])
        drift = -0.02 * step / STEPS[-1] * point["learning_rate"] / 1e-5
        chosen = drift * lengths[0] + skill + rng.normal(0, 2, len(pairs))
        rejected = 2 * drift * lengths[1] + rng.normal(0, 2, len(pairs))
        ids = tuple(pair.id for pair in pairs)
        return Outcomes(ids, reference[0] + chosen, reference[1] + rejected, *reference, *lengths)

    def select(self, **changes: Any) -> dict[str, Any]:
        """End the sweep as `run` does, with a scripted final split; `changes` go on top."""
        records = ledger.read(self.paths.store, self.paths.ledger)
        selection = finalize_sweep(self.config, self.paths, records, self._call)
        if changes:
            selection |= changes
            self.paths.store.write(self.paths.selection, json.dumps(selection).encode())
        return selection

    def _call(self, function: Any, _: SweepRef, *arguments: Any) -> Any:
        """In place of a worker: what it would answer, export and score."""
        if function is not export_and_score:
            missing, _, _, batches, _ = arguments
            prompts = [prompt for batch in batches for prompt in batch]
            return {whom: [self._answer(whom, p) for p in prompts] for whom in missing}
        trial, step, asked_dtype = arguments
        point = json.loads(self.paths.store.read(self.paths.point(trial)))["point"]
        outcomes = self.outcomes(point, step, "final")
        content = write_outcomes(outcomes, {"trial": trial, "step": step, "split": "final"})
        self.paths.store.write(self.paths.final_outcome(trial, step), content)
        return write_best(self.paths, trial, step, asked_dtype)

    def _answer(self, whom: str, prompt: Sequence[int]) -> dict[str, Any]:
        text = self.answer.format(whom=whom)
        return {"text": text, "tokens": [len(prompt), *range(10)], "ended": True}

    def _draw(self, rng: random.Random) -> list[dict[str, Any]]:
        def one(_: str, axis: Any) -> Any:
            if hasattr(axis, "values"):
                return rng.choice(axis.values)
            if type(axis).__name__ == "LogUniform":
                return math.exp(rng.uniform(math.log(axis.low), math.log(axis.high)))
            return rng.uniform(axis.low, axis.high)

        space = self.config.search_space
        return [space.sample(one) for _ in range(self.config.search.trials)]

    def _write_prepared(self) -> None:
        store, paths = self.paths.store, self.paths
        text = dump_yaml(resolved(self.config, paths.storage.uri))
        store.write(paths.config, f"{text}...\n".encode())
        for split in SPLITS:
            store.write(paths.split(split), b"".join(split_lines(getattr(self.splits, split))))
            with store.writing(paths.encoded(split)) as file:
                TokenTable.write(self.encoded[split], file)
        prepared = Prepared(
            data_sha256="d" * 64,
            weights_sha256="e" * 64,
            tokenizer_sha256="f" * 64,
            reports={s: encoding_report(self.encoded[s]).as_dict() for s in SPLITS},
            reference_keys=dict.fromkeys(SPLITS, "key"),
            reference_computed=dict.fromkeys(SPLITS, True),
            findings=[
                {
                    "code": "longer_wins",
                    "severity": "warning",
                    "number": 0.71,
                    "message": "of pairs have the longer answer preferred",
                    "remedy": "use length_norm: mean",
                    "places": ["pairs.jsonl:3"],
                    "is_share": True,
                }
            ],
        )
        store.write(paths.prepared, json.dumps(vars(prepared)).encode())


_LABELS = ("source", "category")


def _encoded(pairs: Sequence[PreferencePair]) -> list[EncodedPair]:
    """A token a word; the report asks for lengths and ids alone."""

    def tokens(content: Any) -> tuple[int, ...]:
        text = content if isinstance(content, str) else content[-1]["content"]
        return tuple(3 + len(word) for word in text.split())

    sides = ("prompt", "chosen", "rejected")
    return [
        EncodedPair(
            pair.id,
            *(tokens(getattr(pair, side)) for side in sides),
            source=pair.source,
            category=pair.category,
        )
        for pair in pairs
    ]
