"""`dpo-sweeps audit`: reads a sweep's data as a run would, and says what is wrong with it."""

from __future__ import annotations

from typing import Any

from dpo_core.audit.pair_checks import Finding
from dpo_core.errors import SettingsError
from dpo_core.storage.store import Store
from sweeps.config.schema import SweepConfig
from sweeps.preflight.dry_run import Rehearsal, rehearsed
from sweeps.prepare.audit_report import audited
from sweeps.prepare.data import said_of
from sweeps.prepare.pipeline import of_reference
from sweeps.prepare.reference_pass import columns_of, fingerprints, settle_rows
from sweeps.run_dir.paths import SweepPaths


def make_audit(config: SweepConfig, with_model: bool) -> dict[str, Any]:
    """`findings` (severe first), `lengths` and counts. Raises UserError where `run` would, but for
    rows that make no pair: those are all found, and told.

    With the model, its reference pass is run here and kept for the sweep.
    """
    lenient = config.data.model_copy(update={"on_bad_row": "skip"})
    with rehearsed(config.model_copy(update={"data": lenient})) as rehearsal:
        return _audit(config, rehearsal, with_model)


def _audit(config: SweepConfig, rehearsal: Rehearsal, with_model: bool) -> dict[str, Any]:
    data, splits, tokens = rehearsal.data, rehearsal.splits, rehearsal.tokens
    if with_model and data.pairs.unanswered_count:
        raise SettingsError(
            "--with-model: golden answers have no rejected side before the sweep has run, which then "
            f"leaves its audit in {SweepPaths.audit}; audit without the model"
        )
    findings = [*rehearsal.findings]
    if with_model:
        findings += _of_model(config, rehearsal)
    refuses = config.data.on_bad_row == "fail"
    return audited(splits, tokens, findings, said_of(data), refuses_bad_rows=refuses)


def _of_model(config: SweepConfig, rehearsal: Rehearsal) -> list[Finding]:
    from dpo_core.scoring.scorer import Scorer

    tokens, tokenizer = rehearsal.tokens, rehearsal.tokenizer
    paths, scorer = SweepPaths(Store.open(config.storage), "audit"), Scorer(config.model)
    prints = fingerprints(config, tokenizer)
    settle_rows(config, paths, tokens, prints, scorer)
    _, columns, _ = columns_of(config, paths, tokens["train"], prints, scorer)
    return of_reference(config, rehearsal.splits, tokens, columns)
