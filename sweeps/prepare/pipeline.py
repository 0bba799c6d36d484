"""What is done once per sweep: golden answers, tokens, the audit, the reference.

All of it happens where a trial would run, and everything is left in the sweep's folder: a trial
needs the folder and nothing else.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dpo_core.audit.pair_checks import Finding, audit, location
from dpo_core.audit.reference_checks import reference_findings
from dpo_core.encoding import encode
from dpo_core.encoding.token_table import encoding_report
from dpo_core.errors import SettingsError
from dpo_core.preferences import PairTable, PreferenceSplits, as_chat, data_fingerprint, split_lines
from dpo_core.scoring.reference_cache import Columns
from dpo_core.storage.store import PARTIAL_PREFIX
from dpo_core.training.trainer import check_trl_fields
from sweeps.config.schema import SweepConfig
from sweeps.prepare.audit_report import build_audit
from sweeps.prepare.data import TokenTables, encode_splits
from sweeps.prepare.golden import GoldenAnswers, deal
from sweeps.prepare.reference_pass import (
    choose_row_layout,
    fingerprints,
    needs_checkpointing,
    reference_columns,
)
from sweeps.ray_runtime.remote_call import RemoteCall
from sweeps.run_dir import json_files
from sweeps.run_dir.config_file import read_config, write_config
from sweeps.run_dir.json_types import ReadingReport
from sweeps.run_dir.paths import SPLITS, SweepPaths, SweepRef
from sweeps.run_dir.prepared import Prepared, read_encoded, read_pairs


def prepare(
    config: SweepConfig,
    paths: SweepPaths,
    splits: PreferenceSplits,
    said: ReadingReport,
    call: RemoteCall,
) -> Prepared:
    """`call` runs the heavy part. May be repeated: the same data gives the same files. `said` of the
    data goes to the audit."""
    write_config(config, paths)
    for split in SPLITS:
        with paths.store.writing(paths.pairs(split)) as file:
            PairTable.write(getattr(splits, split), file)
    deal(config, splits, call, _answer_remotely, paths.ref)
    return Prepared(**call(_prepare_remotely, paths.ref, said))


@dataclass(frozen=True)
class _Desk:
    """What a process needs that prepares a sweep, or a share of it."""

    paths: SweepPaths
    config: SweepConfig
    tokenizer: Any
    scorer: Any
    prints: dict[str, str]
    golden: GoldenAnswers

    @classmethod
    def at(cls, sweep: SweepRef) -> _Desk:
        from dpo_core.models.load import load_tokenizer, silence_libraries
        from dpo_core.scoring.scorer import Scorer

        silence_libraries()
        paths = sweep.paths
        config = read_config(paths)
        tokenizer, scorer = load_tokenizer(config.model), Scorer(config.model)
        prints = fingerprints(config, tokenizer)
        pairs = read_pairs(paths)
        golden = GoldenAnswers(config, paths.reference_cache, pairs, tokenizer, prints)
        return cls(paths, config, tokenizer, scorer, prints, golden)


def _answer_remotely(sweep: SweepRef, share: int, shares: int) -> int:
    desk = _Desk.at(sweep)
    return desk.golden.make(desk.scorer, share, shares)


def _prepare_remotely(sweep: SweepRef, said: ReadingReport) -> dict[str, Any]:
    desk = _Desk.at(sweep)
    paths, config, scorer, prints = desk.paths, desk.config, desk.scorer, desk.prints
    check_trl_fields(config.training)
    splits, dropped = desk.golden.filled()
    _refuse_other_data(paths, splits)
    tokens = _write_splits(config, paths, splits, desk.tokenizer)
    findings = audit({s: getattr(splits, s) for s in SPLITS}, tokens, config.data.max_tokens)
    not_shared = choose_row_layout(config, paths, tokens, prints, scorer)
    passes = {s: reference_columns(config, paths, tokens[s], prints, scorer) for s in SPLITS}
    findings += reference_pass_findings(config, splits, tokens, passes["train"][1])
    kept = build_audit(splits, tokens, findings, said)
    paths.store.write(paths.audit, json.dumps(kept, ensure_ascii=False, indent=2).encode())
    prepared = Prepared(
        **prints,
        data_sha256=data_fingerprint(id for s in SPLITS for id in tokens[s].ids),
        reports={s: encoding_report(tokens[s]).as_dict() for s in SPLITS},
        reference_keys={s: key for s, (key, _, _) in passes.items()},
        reference_computed={s: computed for s, (_, _, computed) in passes.items()},
        row_tokens=scorer.row_tokens,
        gradient_checkpointing=needs_checkpointing(config, tokens, scorer.device),
        not_shared=not_shared,
        golden_dropped=dropped,
        findings=kept["findings"],
    )
    content = {f.name: getattr(prepared, f.name) for f in fields(prepared)}
    paths.store.write(paths.prepared, json.dumps(content, indent=2).encode())
    return asdict(prepared)


def _write_splits(
    config: SweepConfig, paths: SweepPaths, splits: PreferenceSplits, tokenizer: Any
) -> TokenTables:
    """Pairs and tokens of every split into the sweep's folder; the tokens, mapped from there."""
    chat = encode.uses_chat_template(tokenizer, config.data.format)
    with tempfile.TemporaryDirectory(dir=paths.scratch, prefix=PARTIAL_PREFIX) as folder:
        encode_splits(config, splits, tokenizer, Path(folder))
        for split in SPLITS:
            pairs = getattr(splits, split)
            with paths.store.writing(paths.split(split)) as file, file.open("wb") as lines:
                lines.writelines(split_lines(map(as_chat, pairs) if chat else pairs))
            with paths.store.writing(paths.encoded(split)) as file:
                shutil.move(Path(folder) / f"{split}.arrow", file)
    return {split: read_encoded(paths, split) for split in SPLITS}


def _refuse_other_data(paths: SweepPaths, splits: PreferenceSplits) -> None:
    """Trials of one sweep must not be judged on different pairs. Raises SettingsError."""
    before = json_files.PREPARED.rebuildable(paths.store, paths.prepared)
    now = data_fingerprint(pair.id for s in SPLITS for pair in getattr(splits, s)) if before else ""
    if before and before["data_sha256"] != now:
        raise SettingsError(
            f"{paths.store.uri}: its pairs are damaged, and the data has changed since they were read; "
            "put the old data back, or start a new sweep"
        )


def reference_pass_findings(
    config: SweepConfig, splits: PreferenceSplits, tokens: TokenTables, columns: Columns
) -> list[Finding]:
    """What the untouched model's columns of the train split add to the audit."""
    golden = {source.label for source in config.data.all_sources if source.kind == "golden"}
    train = splits.train
    return reference_findings(tokens["train"], columns, lambda i: location(train[i]), golden)
