"""The command `audit`: reads a sweep's data as a run would, and reports what is wrong with it."""

from __future__ import annotations

from dpo_core.audit.findings import Finding
from dpo_core.errors import SettingsError
from sweeps.config.schema import SweepConfig
from sweeps.preflight.dry_run import DryRun, dry_run
from sweeps.prepare.audit_report import build_audit
from sweeps.prepare.data import reading_report
from sweeps.prepare.pipeline import reference_pass_findings
from sweeps.prepare.reference_pass import choose_row_layout, fingerprints, reference_columns
from sweeps.run_dir.json_types import AuditJson
from sweeps.run_dir.paths import SweepPaths, open_storage


def make_audit(config: SweepConfig, with_model: bool) -> AuditJson:
    """Audit the data of a sweep.

    With the model, its reference pass runs on this machine and is stored for the sweep. Rows that
    make no pair are all reported, where `run` would stop at the first.

    Raises:
        UserError: where `run` would, but for such rows.
    """
    lenient = config.data.model_copy(update={"on_bad_row": "skip"})
    with dry_run(config.model_copy(update={"data": lenient})) as run:
        return _audit(config, run, with_model)


def _audit(config: SweepConfig, run: DryRun, with_model: bool) -> AuditJson:
    data, splits, tokens = run.data, run.splits, run.tokens
    if with_model and data.pairs.unanswered_count:
        raise SettingsError(
            "--with-model: golden answers have no rejected side before the sweep has run, which then "
            f"leaves its audit in {SweepPaths.audit}; audit without the model"
        )
    findings = [*run.findings]
    if with_model:
        findings += _reference_findings(config, run)
    refuses = config.data.on_bad_row == "fail"
    return build_audit(
        splits, tokens, findings, reading_report(data, splits), refuses_bad_rows=refuses
    )


def _reference_findings(config: SweepConfig, run: DryRun) -> list[Finding]:
    from dpo_core.scoring.scorer import Scorer

    tokens, tokenizer = run.tokens, run.tokenizer
    paths, scorer = SweepPaths(open_storage(config.storage), "audit"), Scorer(config.model)
    prints = fingerprints(config, tokenizer)
    choose_row_layout(config, paths, tokens, prints, scorer)
    _, columns, _ = reference_columns(config, paths, tokens["train"], prints, scorer)
    return reference_pass_findings(config, run.splits, tokens, columns)
