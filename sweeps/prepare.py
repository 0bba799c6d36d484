"""What is done once per sweep: pairs, splits, tokens, and the reference pass.

`load_splits` and `encode_splits` are plain functions, which `plan` uses too. `prepare` runs the
tokens and the reference on Ray, with the resources of a trial's worker, and leaves everything in
the sweep's folder: a trial needs the folder and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from dpo_core import encode, reference
from dpo_core.errors import SettingsError, UserError
from dpo_core.preferences import (
    PreferenceSplits,
    as_chat,
    data_fingerprint,
    load_pairs,
    split_lines,
    split_pairs,
)
from dpo_core.reference import Columns
from dpo_core.settings import TrainingSettings
from sweeps.config import SweepConfig, parse_sweep, resolved
from sweeps.paths import SPLITS, SweepPaths
from sweeps.strict_yaml import dump_yaml

Encoded = dict[str, list[encode.EncodedPair]]


@dataclass(frozen=True)
class Prepared:
    """What `prepared.json` keeps. `reports` and `reference_keys` are by split."""

    data_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    reports: Mapping[str, Mapping[str, Any]]
    reference_keys: Mapping[str, str]
    reference_computed: Mapping[str, bool]
    not_shared: str | None = None
    """Why prompts cannot be shared between a pair's answers, if they cannot."""

    @classmethod
    def read(cls, paths: SweepPaths) -> Prepared:
        return cls(**json.loads(paths.store.read(paths.prepared)))


def load_splits(config: SweepConfig) -> PreferenceSplits:
    """Read the pairs and split them by prompt group. Raises DataError, SettingsError."""
    data = config.data
    return split_pairs(
        load_pairs(data.path, split=data.split),
        seed=config.seed,
        select_fraction=data.select_fraction,
        final_fraction=data.final_fraction,
    )


def encode_splits(
    config: SweepConfig, splits: PreferenceSplits, tokenizer: Any
) -> tuple[PreferenceSplits, Encoded]:
    """The splits in the form that was encoded (chat or text), and their tokens."""
    if encode.uses_chat_template(tokenizer, config.data.format):
        splits = PreferenceSplits(**{s: tuple(map(as_chat, getattr(splits, s))) for s in SPLITS})
    tokens = {
        s: encode.encode(getattr(splits, s), tokenizer, config.data.max_tokens) for s in SPLITS
    }
    if not any(pair.distinct for pair in tokens["train"]):
        raise SettingsError(
            f"data.max_tokens: {config.data.max_tokens} leaves no training pair with two different "
            "answers; raise it"
        )
    return splits, tokens


def prepare(config: SweepConfig, paths: SweepPaths, splits: PreferenceSplits) -> Prepared:
    """Needs a connected Ray. Safe to repeat: whatever is there already is kept."""
    if paths.store.exists(paths.prepared):
        prepared = Prepared.read(paths)
        if _references_kept(paths, prepared):
            return prepared
    _write_config(config, paths)
    return Prepared(
        **run_on_worker(config, _prepare_remotely, paths.storage.uri, paths.sweep_id, splits)
    )


def run_on_worker(config: SweepConfig, function: Any, *args: Any) -> Any:
    """Call `function(*args)` in a Ray task with the resources of a trial's worker.

    A user's mistake inside the task comes back as itself, not as a Ray error.
    """
    import ray

    task = ray.remote(function).options(
        num_cpus=config.resources.cpus_per_worker,
        num_gpus=config.resources.gpus_per_worker,
        max_retries=2,
    )
    try:
        return ray.get(task.remote(*args))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise


def read_config(paths: SweepPaths) -> SweepConfig:
    """The resolved config of a sweep's folder. Raises SettingsError when there is none."""
    store = paths.store
    if not store.exists(paths.config):
        raise SettingsError(f"{store.uri}: holds no {paths.config}; give the folder of a sweep")
    return parse_sweep(store.read(paths.config).decode(), source=f"{store.uri}/{paths.config}")


def read_encoded(paths: SweepPaths, split: str) -> list[encode.EncodedPair]:
    return encode.from_parquet(paths.store.read(paths.encoded(split)))


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


def _references_kept(paths: SweepPaths, prepared: Prepared) -> bool:
    keys = prepared.reference_keys.items()
    loaded = (
        reference.load(paths.reference_cache, key, read_encoded(paths, split))
        for split, key in keys
    )
    return all(columns is not None for columns in loaded)


def _write_config(config: SweepConfig, paths: SweepPaths) -> None:
    text = dump_yaml(resolved(config, paths.storage.uri))
    paths.store.write(paths.config, text.encode())


def _prepare_remotely(storage: str, sweep_id: str, splits: PreferenceSplits) -> dict[str, Any]:
    from dpo_core.models import load_tokenizer, quiet, weights_fingerprint
    from dpo_core.store import Store

    quiet()
    paths = SweepPaths(Store.open(storage), sweep_id)
    config = read_config(paths)
    check_trl_fields(config.training)
    tokenizer = load_tokenizer(config.model)
    splits, tokens = encode_splits(config, splits, tokenizer)
    for split in SPLITS:
        paths.store.write(paths.split(split), split_lines(getattr(splits, split)))
        paths.store.write(paths.encoded(split), encode.to_parquet(tokens[split]))
    prints = {
        "data_sha256": data_fingerprint([*splits.train, *splits.select, *splits.final]),
        "weights_sha256": weights_fingerprint(config.model),
        "tokenizer_sha256": encode.tokenizer_fingerprint(tokenizer),
    }
    not_shared, keys, computed = _reference_pass(config, paths, tokens, prints)
    prepared = Prepared(
        **prints,
        reports={s: encode.report(tokens[s]).as_dict() for s in SPLITS},
        reference_keys=keys,
        reference_computed=computed,
        not_shared=not_shared,
    )
    content = {f.name: getattr(prepared, f.name) for f in fields(prepared)}
    paths.store.write(paths.prepared, json.dumps(content, indent=2).encode())
    return asdict(prepared)


def _reference_pass(
    config: SweepConfig, paths: SweepPaths, tokens: Encoded, prints: Mapping[str, str]
) -> tuple[str | None, dict[str, str], dict[str, bool]]:
    from dpo_core.scoring import Scorer

    scorer = Scorer(config.model, config.training.row_tokens)
    everything = [pair for split in SPLITS for pair in tokens[split]]
    not_shared = _sharing_verdict(paths, prints, everything, config, scorer)
    scorer.shared = not_shared is None
    keys, computed = {}, {}
    for split in SPLITS:
        keys[split] = reference.reference_key(
            tokens[split],
            weights=prints["weights_sha256"],
            tokenizer=prints["tokenizer_sha256"],
            max_tokens=config.data.max_tokens,
            dtype=f"{config.model.dtype} {'lora' if config.model.adapter else 'full'}",
        )
        compute = partial(scorer, tokens[split])
        _, computed[split] = reference.obtain(
            paths.reference_cache, keys[split], tokens[split], compute
        )
    return not_shared, keys, computed


def _sharing_verdict(
    paths: SweepPaths,
    prints: Mapping[str, str],
    pairs: list[encode.EncodedPair],
    config: SweepConfig,
    scorer: Any,
) -> str | None:
    """Why prompts cannot be shared, or None; kept beside the references, which depend on it."""
    about = (prints["weights_sha256"], config.model.dtype, config.model.attention)
    key = reference.verdict_key(pairs, *about)
    name = f"sharing/{key}.json"
    if paths.reference_cache.exists(name):
        return json.loads(paths.reference_cache.read(name))["why_not"]  # type: ignore[no-any-return]
    verdict: str | None = scorer.why_not_shared(pairs)
    paths.reference_cache.write(name, json.dumps({"why_not": verdict}).encode())
    return verdict


def check_trl_fields(training: TrainingSettings) -> None:
    """Raises SettingsError on a field that TRL's DPOConfig does not have."""
    from trl import DPOConfig

    unknown = sorted(set(training.trl) - {f.name for f in fields(DPOConfig)})
    if unknown:
        raise SettingsError(f"training.trl.{unknown[0]}: TRL's DPOConfig has no such field")
