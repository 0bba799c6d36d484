"""An Optuna study that many sweeps share: in PostgreSQL on a cluster, in a file on one machine.

A copy for people and dashboards. The search itself stays in memory and the ledger is the truth, so
trials are published when they have ended, each once, by run and trial; none is ever left running in
the study. A database that does not answer costs a warning and never a trial: all that is missing is
published when it answers again, or by the next `resume`.

Tested in tests/integration/test_shared_study.py.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence

import optuna

from search_spaces import Space
from sweeps.config.schema import SweepConfig
from sweeps.config.secrets import redact
from sweeps.run_dir.ledger import TrialRecord
from sweeps.run_dir.prepared import Prepared
from sweeps.search.study import frozen_trial

_CONNECT_S = 5
_RETRY_AFTER_S = 60.0
_TRIES = 3  # of two processes that create the tables at once, one fails


def study_name(config: SweepConfig, prepared: Prepared) -> str:
    """Name the study after the sweep and all that makes accuracies comparable at all."""
    same = {
        "space": config.search_space.to_yaml(),
        "weights": prepared.weights_sha256,
        "data": prepared.data_sha256,
        "split": [
            config.seed,
            config.data.select_fraction,
            config.data.final_fraction,
            config.data.most_pairs,
        ],
        "tokens": config.data.max_tokens,
        "objective": config.selection.objective,
    }
    digest = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()
    return f"{config.name}-{digest[:10]}"


class SharedStudy:
    """A study to publish the trials of a run in. It connects when there is something to publish."""

    def __init__(
        self, url: str, name: str, run: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.url, self.name, self.run, self.clock = url, name, run, clock
        self.study: optuna.Study | None = None
        self.retry_at = 0.0
        self.published: set[str] = set()

    def publish(
        self, space: Space, records: Sequence[TrialRecord], objective: str, *, last: bool = False
    ) -> str | None:
        """Bring the study up to the ledger. After a failure, leave it alone for a minute.

        Args:
            space: The space of the sweep.
            records: The trials of the search that have ended.
            objective: The accuracy that decides.
            last: Whether this is the last chance: then try in any case.

        Returns:
            A warning without secrets when the study could not be brought up to date, else None.
        """
        missing = [record for record in records if record.trial not in self.published]
        if not missing or (self.clock() < self.retry_at and not last):
            return None
        for _ in range(_TRIES):
            try:
                self._add(space, missing, objective)
                return None
            except Exception as error:
                # A database driver may raise anything: the sweep goes on.
                self.study, problem = None, error
        self.retry_at = self.clock() + _RETRY_AFTER_S
        return (
            f"search.study: {redact(self.url)} is not up to date: "
            f"{redact(str(problem).strip().splitlines()[0])}"
        )

    def _add(self, space: Space, missing: Sequence[TrialRecord], objective: str) -> None:
        if self.study is None:
            self.study = optuna.create_study(
                storage=open_storage(self.url),
                study_name=self.name,
                direction="maximize",
                load_if_exists=True,
            )
            trials = self.study.get_trials(deepcopy=False)
            ours = (t.user_attrs for t in trials if t.user_attrs.get("run") == self.run)
            self.published |= {attributes["trial"] for attributes in ours}
        for record in missing:
            if record.trial not in self.published:
                trial = frozen_trial(space, record, objective)
                trial.user_attrs["run"] = self.run
                self.study.add_trial(trial)
                self.published.add(record.trial)


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Open an Optuna storage. A database's password comes from PGPASSWORD or from ~/.pgpass."""
    scheme, _, rest = url.partition("://")
    if scheme == "journal":
        backend = optuna.storages.journal.JournalFileBackend(rest)
        return optuna.storages.JournalStorage(backend)
    if scheme == "postgresql":
        options = {"connect_args": {"connect_timeout": _CONNECT_S}, "pool_pre_ping": True}
        return optuna.storages.RDBStorage(f"postgresql+psycopg://{rest}", engine_kwargs=options)
    return optuna.storages.RDBStorage(url)
