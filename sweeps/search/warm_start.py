"""Warm starts: a night's search learns from finished trials of comparable earlier nights.

They come from the ledgers, which hold each trial once; an Optuna study may hold trials that a kill
left running. They are written into the night's folder, so that a night which is resumed elsewhere
goes on from the same trials. Tested in tests/unit/sweeps/nightly/test_run_night.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

from dpo_core.errors import UserError
from sweeps.config.load import resolved
from sweeps.config.schema import SweepConfig
from sweeps.run_dir import json_files, ledger
from sweeps.run_dir.config_file import read_config
from sweeps.run_dir.ledger import FINISHED, TrialRecord, searched
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import Prepared


@dataclass(frozen=True)
class EarlierNight:
    """The trials of one night.

    The hash of its model's weights is compared with tonight's once tonight's sweep is prepared.
    """

    sweep: str
    weights_sha256: str
    records: tuple[TrialRecord, ...]


def comparison_key(config: SweepConfig) -> str:
    """Hash all that makes accuracies comparable: space, model, data, training and metric.

    Paths count by their last part, and the model's not at all (its weights do): a job has another
    working directory every night, and the rows behind a name may grow.
    """
    tree = resolved(config, "")
    sources = [tree["data"], *tree["data"]["sources"]]
    for source in sources:
        source["path"] = source["path"] and PurePosixPath(source["path"]).name
    content = {
        "space": config.search_space.fingerprint(),
        "model": {key: tree["model"][key] for key in ("adapter", "dtype")},
        "data": tree["data"],
        "training": tree["training"],
        "objective": config.selection.objective,
        "seed": config.seed,
    }
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def collect(
    config: SweepConfig, nights: Sequence[SweepPaths]
) -> tuple[list[EarlierNight], list[str]]:
    """Collect the finished trials of earlier nights that are comparable with tonight's.

    A night that cannot be read is left out: it must not end tonight's.

    Args:
        config: Tonight's sweep.
        nights: Earlier nights.

    Returns:
        The comparable nights that have finished trials, and a warning for each night left out.
    """
    wanted, comparable, problems = comparison_key(config), [], []
    for paths in nights:
        try:
            if (
                not paths.store.exists(paths.prepared)
                or comparison_key(read_config(paths)) != wanted
            ):
                continue
            records = searched(ledger.read(paths.store, paths.ledger))
            weights = Prepared.read(paths).weights_sha256
        except (UserError, ValueError, TypeError, KeyError) as error:
            problems.append(f"{paths.sweep_id} is left out of the warm start: {error}")
            continue
        finished = tuple(
            record for record in records if record.status == FINISHED and record.evaluations
        )
        if finished:
            comparable.append(EarlierNight(paths.sweep_id, weights, finished))
    return comparable, problems


def write(paths: SweepPaths, nights: Sequence[EarlierNight]) -> None:
    """Write the trials of earlier nights into tonight's folder."""
    rows = [asdict(night) for night in nights]
    json_files.WARM_START.write(paths.store, paths.warm_start, rows)


def read(paths: SweepPaths, weights_sha256: str) -> list[TrialRecord]:
    """Read the earlier trials of the same model, under names that no trial of this sweep has.

    A sweep that is no night has none.
    """
    rows: list[dict[str, Any]] | None
    rows = json_files.WARM_START.optional(paths.store, paths.warm_start)
    return [
        replace(record, trial=f"{row['sweep']}/{record.trial}")
        for row in rows or []
        if row["weights_sha256"] == weights_sha256
        for record in map(TrialRecord.from_dict, row["records"])
    ]
