"""What a night's search knows before its first trial: finished trials of comparable earlier nights.

They come from the ledgers, which hold each trial once; studies may hold orphans. What is taken is
written into the night's folder, so that a night resumed elsewhere searches on from the same.
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
    """The trials of one night. Whether its model was tonight's is known once tonight is prepared."""

    sweep: str
    weights_sha256: str
    records: tuple[TrialRecord, ...]


def family(config: SweepConfig) -> str:
    """A hash of all that makes accuracies comparable: space, model, data, training and metric.

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
    """Nights of tonight's family, with their finished trials of the search; and a line for each
    night that cannot be read. Such a night is left out: it must not cost tonight."""
    wanted, found, problems = family(config), [], []
    for paths in nights:
        try:
            if not paths.store.exists(paths.prepared) or family(read_config(paths)) != wanted:
                continue
            records = searched(ledger.read(paths.store, paths.ledger))
            weights = Prepared.read(paths).weights_sha256
        except (UserError, ValueError, TypeError, KeyError) as error:
            problems.append(f"{paths.sweep_id} is left out of the warm start: {error}")
            continue
        kept = tuple(
            record for record in records if record.status == FINISHED and record.evaluations
        )
        if kept:
            found.append(EarlierNight(paths.sweep_id, weights, kept))
    return found, problems


def write(paths: SweepPaths, nights: Sequence[EarlierNight]) -> None:
    rows = [asdict(night) for night in nights]
    paths.store.write(paths.warm_start, json.dumps(rows, allow_nan=False).encode())


def read(paths: SweepPaths, weights_sha256: str) -> list[TrialRecord]:
    """Trials of the same model, under names no trial of this sweep has; empty for other sweeps."""
    rows: list[dict[str, Any]] | None
    rows = json_files.WARM_START.optional(paths.store, paths.warm_start)
    return [
        replace(record, trial=f"{row['sweep']}/{record.trial}")
        for row in rows or []
        if row["weights_sha256"] == weights_sha256
        for record in map(TrialRecord.from_dict, row["records"])
    ]
