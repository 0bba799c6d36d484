"""The stages that run once per sweep: golden answers, tokens, the audit, the reference pass.

All of them run where a trial would run, and leave their results in the run directory: a trial needs
that folder and nothing else.

Tested in tests/integration/test_pipeline.py and tests/unit/sweeps/run_dir/test_torn_files.py.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from dpo_core.audit.findings import Finding
from dpo_core.audit.pair_checks import audit
from dpo_core.audit.reference_checks import reference_findings
from dpo_core.encoding import encode
from dpo_core.encoding.token_table import TokenTable, encoding_report
from dpo_core.errors import SettingsError
from dpo_core.preferences import PairTable, PreferenceSplits, as_chat, data_fingerprint, split_lines
from dpo_core.preferences.pairs import location
from dpo_core.scoring import reference_cache
from dpo_core.scoring.reference_cache import Columns
from dpo_core.settings import FLOAT32
from dpo_core.storage.file_digests import file_sha256
from sweeps.config.schema import SweepConfig
from sweeps.prepare.audit_report import build_audit
from sweeps.prepare.data import EncodedSplits, TokenTables, encode_splits, text_use
from sweeps.prepare.golden import GoldenAnswers, generate_on_workers
from sweeps.prepare.memory_estimate import model_size
from sweeps.prepare.model_check import ModelCheck
from sweeps.prepare.reference_pass import (
    choose_row_layout,
    fingerprints,
    measured_margin_noise,
    needs_checkpointing,
    reference_columns,
)
from sweeps.prepare.score_precision import choose_score_dtype, scoring_shares, sweep_tokens
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir import json_files
from sweeps.run_dir.adapter_coverage import coverage_findings
from sweeps.run_dir.config_file import read_config, write_config
from sweeps.run_dir.json_types import ReadingReport
from sweeps.run_dir.paths import SPLITS, SweepPaths, SweepRef
from sweeps.run_dir.prepared import Prepared, read_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dpo_core.scoring.scorer import Scorer


def prepare(
    config: SweepConfig,
    paths: SweepPaths,
    splits: PreferenceSplits,
    reading: ReadingReport,
    call: RemoteCall,
) -> Prepared:
    """Prepare a sweep; the same data gives the same files, however often this is repeated.

    Args:
        config: The sweep.
        paths: Its run directory.
        splits: The pairs as they were read.
        reading: What reading them found, for the audit.
        call: Runs a function on a worker.

    Returns:
        The content of `prepared.json`.
    """
    write_config(config, paths)
    _write_pairs(paths, splits)
    sweep = paths.ref
    generate_on_workers(
        config, splits, lambda share, shares: call(_generate_share, sweep, share, shares)
    )
    return Prepared(**call(_prepare_on_worker, sweep, reading))


def _write_pairs(paths: SweepPaths, splits: PreferenceSplits) -> None:
    """Write the pairs as they were read; their digests last, which say that all are there."""
    digests = {}
    for split in SPLITS:
        name = paths.pairs(split)
        with paths.store.writing(name) as file:
            PairTable.write(getattr(splits, split), file)
            digests[name] = file_sha256(file)
    json_files.PAIRS_DIGESTS.write(paths.store, paths.pairs_digests, {"files": digests})


@dataclass(frozen=True)
class PrepareWorker:
    """The config, model and data of a process that prepares a sweep, or a share of it."""

    paths: SweepPaths
    config: SweepConfig
    tokenizer: PreTrainedTokenizerBase
    scorer: Scorer
    model_hashes: dict[str, str]
    hashing_s: float
    """The seconds that the hashes took, which is a reading of all weights."""
    golden: GoldenAnswers

    @classmethod
    def of(cls, sweep: SweepRef) -> PrepareWorker:
        """Load what preparing a sweep needs; the model's weights are loaded at their first use."""
        from dpo_core.models.load import load_tokenizer, silence_libraries
        from dpo_core.scoring.scorer import Scorer

        silence_libraries()
        paths = sweep.paths
        config = read_config(paths)
        tokenizer, scorer = load_tokenizer(config.model), Scorer(config.model)
        started = time.perf_counter()
        hashes = fingerprints(config, tokenizer)
        hashing_s = time.perf_counter() - started
        pairs = read_pairs(paths)
        golden = GoldenAnswers(config, paths.reference_cache, pairs, tokenizer, hashes)
        return cls(paths, config, tokenizer, scorer, hashes, hashing_s, golden)


def _generate_share(sweep: SweepRef, share: int, shares: int) -> int:
    worker = PrepareWorker.of(sweep)
    ModelCheck(worker.config, worker.tokenizer, worker.scorer).read()
    return worker.golden.generate(worker.scorer, share, shares)


def _prepare_on_worker(sweep: SweepRef, reading: ReadingReport) -> dict[str, Any]:
    worker = PrepareWorker.of(sweep)
    paths, config, scorer, hashes = worker.paths, worker.config, worker.scorer, worker.model_hashes
    splits, dropped = worker.golden.completed_splits()
    written, files = _write_splits(config, paths, splits, worker.tokenizer)
    splits, tokens = written.splits, written.tokens
    # Once each: a sweep that is prepared again has them from its first preparation.
    skipped = [*dict.fromkeys([*reading["rows_skipped"], *written.refused])]
    reading = {**reading, "rows_skipped": skipped}
    use = text_use(config, worker.tokenizer)
    findings = audit({s: getattr(splits, s) for s in SPLITS}, tokens, config.data.max_tokens, use)
    check = ModelCheck(config, worker.tokenizer, scorer)
    check.one_step.seconds["hashing the files"] = round(worker.hashing_s, 2)
    check.read()
    check.compare(tokens)
    not_shared = choose_row_layout(config, paths, tokens, hashes, scorer)
    checkpointing = needs_checkpointing(config, tokens, scorer)
    with paths.store.scratch() as scratch:
        checked = check.try_out(tokens, checkpointing, scratch)
    reports = {s: encoding_report(tokens[s]).as_dict() for s in SPLITS}
    counts = sweep_tokens(config, reports)
    score_dtype = choose_score_dtype(config, counts)
    # A trial's policy is trained in the model's dtype, and so starts from a reference in that dtype.
    dtypes = {s: config.model.dtype if s == "train" else score_dtype for s in SPLITS}
    passes = {
        s: reference_columns(config, paths, tokens[s], hashes, scorer, dtypes[s]) for s in SPLITS
    }
    noise = measured_margin_noise(
        config, paths, tokens["select"], hashes, scorer, passes["select"][1], score_dtype
    )
    coverage = model_size(config.model).coverage_json
    findings += coverage_findings(coverage)
    findings += reference_pass_findings(config, splits, tokens, passes["train"][1])
    audit_content = build_audit(splits, tokens, findings, reading)
    json_files.AUDIT.write(paths.store, paths.audit, audit_content)
    prepared = Prepared(
        weights_sha256=hashes["weights_sha256"],
        tokenizer_sha256=hashes["tokenizer_sha256"],
        data_sha256=data_fingerprint(id for s in SPLITS for id in tokens[s].ids),
        reports=reports,
        reference_keys={s: key for s, (key, _, _) in passes.items()},
        reference_computed={s: computed for s, (_, _, computed) in passes.items()},
        row_tokens=scorer.row_tokens,
        gradient_checkpointing=checkpointing,
        not_shared=not_shared,
        row_layout=scorer.layout.value,
        golden_dropped=dropped,
        rows_refused=written.refused,
        findings=audit_content["findings"],
        score_dtype=score_dtype,
        margin_noise=0.0 if score_dtype == FLOAT32 else noise,
        model_noise=noise,
        scoring_shares=scoring_shares(config, counts),
        files=files,
        adapter_coverage=coverage,
        reference_sha256={
            s: reference_cache.entry_sha256(paths.reference_cache, key)
            for s, (key, _, _) in passes.items()
        },
        model_check=checked,
    )
    content = {f.name: getattr(prepared, f.name) for f in fields(prepared)}
    json_files.PREPARED.write(paths.store, paths.prepared, content)
    return asdict(prepared)


def _write_splits(
    config: SweepConfig,
    paths: SweepPaths,
    splits: PreferenceSplits,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[EncodedSplits, dict[str, str]]:
    """Write pairs and tokens of every split into the sweep's folder.

    Returns:
        The pairs and their tokens, mapped from there, and the digests of all files by name.
    """
    digests, tokens = {}, {}
    chat = encode.uses_chat_template(tokenizer, config.data.format)
    with paths.store.scratch() as folder:
        encoded = encode_splits(config, splits, tokenizer, folder)
        _refuse_other_data(paths, encoded.splits)
        for split in SPLITS:
            pairs = getattr(encoded.splits, split)
            with paths.store.writing(paths.split(split)) as file:
                with file.open("wb") as lines:
                    lines.writelines(split_lines(map(as_chat, pairs) if chat else pairs))
                digests[paths.split(split)] = file_sha256(file)
            with paths.store.writing(paths.encoded(split)) as file:
                shutil.move(folder / f"{split}.arrow", file)
                digests[paths.encoded(split)] = file_sha256(file)
            tokens[split] = TokenTable.open(paths.store.local_file(paths.encoded(split)))
    return replace(encoded, tokens=tokens), digests


def _refuse_other_data(paths: SweepPaths, splits: PreferenceSplits) -> None:
    """Raise SettingsError for other pairs than those on which earlier trials were compared."""
    before = json_files.PREPARED.rebuildable(paths.store, paths.prepared)
    now = data_fingerprint(pair.id for s in SPLITS for pair in getattr(splits, s)) if before else ""
    if before and before["data_sha256"] != now:
        raise SettingsError(
            f"{paths.store.uri}: its pairs or its audit are damaged, and the data has changed since "
            "they were read; put the old data back, or start a new sweep"
        )


def reference_pass_findings(
    config: SweepConfig, splits: PreferenceSplits, tokens: TokenTables, columns: Columns
) -> list[Finding]:
    """Check the train split by what the untouched model says of its pairs.

    Args:
        config: The sweep.
        splits: Its pairs.
        tokens: The tokens of each split.
        columns: Log-probs of the train split under the untouched model, shape (pairs,).

    Returns:
        Findings for the audit.
    """
    golden = {source.label for source in config.data.all_sources if source.kind == "golden"}
    train = splits.train
    return reference_findings(tokens["train"], columns, lambda i: location(train[i]), golden)
