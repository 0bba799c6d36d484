"""What is done once per sweep, step by step: pairs, splits, golden answers, tokens, the reference.

`load_splits` and `encode_splits` are plain functions, which `plan` uses too. `prepare` has the
tokens and the reference made where a trial would run, and leaves everything in the sweep's folder:
a trial needs the folder and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dpo_core import encode, reference
from dpo_core.audit import audit
from dpo_core.errors import SettingsError, UserError
from dpo_core.preferences import (
    LoadedData,
    PreferenceSplits,
    as_chat,
    data_fingerprint,
    load_data,
    split_lines,
    split_pairs,
)
from dpo_core.preferences.golden import is_waiting, stand_in
from dpo_core.reference import Columns
from dpo_core.settings import DEFAULT_ROW_TOKENS, TrainingSettings
from sweeps.calls import Call
from sweeps.config import SweepConfig, parse_sweep, resolved
from sweeps.golden import answer_golden
from sweeps.paths import SPLITS, SweepPaths
from sweeps.reference_pass import columns_of, needs_checkpointing, settle_rows
from sweeps.strict_yaml import dump_yaml

Encoded = dict[str, list[encode.EncodedPair]]
_END = "..."  # of a YAML document


@dataclass(frozen=True)
class Prepared:
    """What `prepared.json` keeps. `reports` and `reference_keys` are by split."""

    data_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    reports: Mapping[str, Mapping[str, Any]]
    reference_keys: Mapping[str, str]
    reference_computed: Mapping[str, bool]
    row_tokens: int = DEFAULT_ROW_TOKENS
    gradient_checkpointing: bool = False
    findings: Sequence[Mapping[str, Any]] = ()
    """Of the audit, by severity."""
    golden_dropped: Sequence[str] = ()
    """Golden answers that made no pair, and why."""
    not_shared: str | None = None
    """Why prompts cannot be shared between a pair's answers, if they cannot."""

    def fitted(self, training: TrainingSettings) -> TrainingSettings:
        """With what was left open filled in for the device that prepared the sweep."""
        chosen = {n: getattr(self, n) for n in ("row_tokens", "gradient_checkpointing")}
        return training.model_copy(update=chosen)

    @classmethod
    def read(cls, paths: SweepPaths) -> Prepared:
        return cls(**json.loads(paths.store.read(paths.prepared)))


def load_splits(config: SweepConfig) -> PreferenceSplits:
    """Read the pairs and split them by prompt group. Raises DataError, SettingsError."""
    return split_data(config, read_data(config))


def read_data(config: SweepConfig) -> LoadedData:
    return load_data(config.data.all_sources, skip_bad_rows=config.data.on_bad_row == "skip")


def expected_pairs(loaded: LoadedData) -> LoadedData:
    """For estimates: golden answers with something in place of what the model will say."""
    pairs = [stand_in(pair) if is_waiting(pair) else pair for pair in loaded.pairs]
    return replace(loaded, pairs=pairs)


def split_data(config: SweepConfig, loaded: LoadedData) -> PreferenceSplits:
    data = config.data
    return split_pairs(
        loaded.pairs,
        seed=config.seed,
        select_fraction=data.select_fraction,
        final_fraction=data.final_fraction,
    )


def skipped_rows(reasons: Sequence[str], shown: int = 3) -> str:
    """One line about rows that made no pair."""
    rest = f"; and {len(reasons) - shown} more" if len(reasons) > shown else ""
    return f"{len(reasons)} rows skipped: {'; '.join(reasons[:shown])}{rest}"


def encode_splits(
    config: SweepConfig, splits: PreferenceSplits, tokenizer: Any
) -> tuple[PreferenceSplits, Encoded]:
    """The splits in the form that was encoded (chat or text), and their tokens."""
    if encode.uses_chat_template(tokenizer, config.data.format):
        splits = PreferenceSplits(**{s: tuple(map(as_chat, getattr(splits, s))) for s in SPLITS})
    tokens = {
        s: encode.encode(
            getattr(splits, s), tokenizer, config.data.max_tokens, config.data.special_tokens
        )
        for s in SPLITS
    }
    if not any(pair.distinct for pair in tokens["train"]):
        raise SettingsError(
            f"data.max_tokens: {config.data.max_tokens} leaves no training pair with two different "
            "answers; raise it"
        )
    return splits, tokens


def prepare(
    config: SweepConfig, paths: SweepPaths, splits: PreferenceSplits, call: Call
) -> Prepared:
    """`call` runs the heavy part. May be repeated: the same data gives the same files."""
    write_config(config, paths)
    return Prepared(**call(_prepare_remotely, paths.storage.uri, paths.sweep_id, splits))


def write_config(config: SweepConfig, paths: SweepPaths) -> None:
    """With an end that shows it is whole: the beginning of a YAML file is a YAML file too."""
    text = dump_yaml(resolved(config, paths.storage.uri))
    paths.store.write(paths.config, f"{text}{_END}\n".encode())


def read_config(paths: SweepPaths) -> SweepConfig:
    """The resolved config of a sweep's folder. Raises SettingsError when there is none."""
    store = paths.store
    if not store.exists(paths.config):
        raise SettingsError(f"{store.uri}: holds no {paths.config}; give the folder of a sweep")
    source, content = f"{store.uri}/{paths.config}", store.read(paths.config)
    if not content.rstrip().endswith(f"\n{_END}".encode()):
        raise SettingsError(
            f"{source}: is cut off, its last line must be `{_END}`; delete it, and `dpo-sweeps run` "
            f"with the sweep's own YAML and `--id {paths.sweep_id}` goes on with what is there"
        )
    return parse_sweep(content.decode(), source=source)


def read_encoded(paths: SweepPaths, split: str) -> list[encode.EncodedPair]:
    return encode.from_parquet(paths.store.read(paths.encoded(split)))


def read_labels(paths: SweepPaths, split: str) -> dict[str, dict[str, str | None]]:
    """Source and category of each pair, by its id."""
    pairs = read_encoded(paths, split)
    return {kind: {p.id: getattr(p, kind) for p in pairs} for kind in ("source", "category")}


def read_reference(
    paths: SweepPaths, prepared: Prepared, split: str, pairs: list[encode.EncodedPair]
) -> Columns:
    """The kept columns. Raises UserError when someone removed or damaged them."""
    key = prepared.reference_keys[split]
    columns = reference.load(paths.reference_cache, key, pairs)
    if columns is None:
        raise UserError(
            f"{paths.reference_cache.uri}/{key} is gone or damaged; `dpo-sweeps resume` computes it "
            "again"
        )
    return columns


def _prepare_remotely(storage: str, sweep_id: str, splits: PreferenceSplits) -> dict[str, Any]:
    from dpo_core.models import load_tokenizer, quiet
    from dpo_core.scoring import Scorer
    from dpo_core.store import Store

    quiet()
    paths = SweepPaths(Store.open(storage), sweep_id)
    config = read_config(paths)
    check_trl_fields(config.training)
    tokenizer, scorer = load_tokenizer(config.model), Scorer(config.model)
    prints = fingerprints(config, tokenizer)
    splits, dropped = answer_golden(config, paths, splits, tokenizer, prints, scorer)
    splits, tokens = encode_splits(config, splits, tokenizer)
    data_sha256 = data_fingerprint([*splits.train, *splits.select, *splits.final])
    _refuse_other_data(paths, data_sha256)
    for split in SPLITS:
        paths.store.write(paths.split(split), split_lines(getattr(splits, split)))
        paths.store.write(paths.encoded(split), encode.to_parquet(tokens[split]))
    findings = audit({s: getattr(splits, s) for s in SPLITS}, tokens, config.data.max_tokens)
    not_shared = settle_rows(config, paths, tokens, prints, scorer)
    passes = {s: columns_of(config, paths, tokens[s], prints, scorer) for s in SPLITS}
    prepared = Prepared(
        **prints,
        data_sha256=data_sha256,
        reports={s: encode.report(tokens[s]).as_dict() for s in SPLITS},
        reference_keys={s: key for s, (key, _, _) in passes.items()},
        reference_computed={s: computed for s, (_, _, computed) in passes.items()},
        row_tokens=scorer.row_tokens,
        gradient_checkpointing=needs_checkpointing(config, tokens, scorer.device),
        not_shared=not_shared,
        golden_dropped=dropped,
        findings=[finding.as_dict() for finding in findings],
    )
    content = {f.name: getattr(prepared, f.name) for f in fields(prepared)}
    paths.store.write(paths.prepared, json.dumps(content, indent=2).encode())
    return asdict(prepared)


def _refuse_other_data(paths: SweepPaths, data_sha256: str) -> None:
    """Trials of one sweep must not be judged on different pairs. Raises SettingsError."""
    before = paths.store.read_json(paths.prepared)
    if before and before.get("data_sha256") != data_sha256:
        raise SettingsError(
            f"{paths.store.uri}: the pairs of its splits are damaged, and the data has changed since "
            "they were made; put the old data back, or start a new sweep"
        )


def fingerprints(config: SweepConfig, tokenizer: Any) -> dict[str, str]:
    """What the model's numbers depend on, beside the pairs."""
    from dpo_core.models import weights_fingerprint

    return {
        "weights_sha256": weights_fingerprint(config.model),
        "tokenizer_sha256": encode.tokenizer_fingerprint(tokenizer),
    }


def check_trl_fields(training: TrainingSettings) -> None:
    """Raises SettingsError on a field that TRL's DPOConfig does not have."""
    from trl import DPOConfig

    unknown = sorted(set(training.trl) - {f.name for f in fields(DPOConfig)})
    if unknown:
        raise SettingsError(f"training.trl.{unknown[0]}: TRL's DPOConfig has no such field")
