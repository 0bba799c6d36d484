"""The command `plan`: trials, steps, tokens, memory and the smallest gain that can be seen.

It loads the data and the tokenizer, and of the model its config.json and the names and shapes of its
tensors.
"""

from __future__ import annotations

from collections import Counter

from dpo_core.audit.findings import INFO, by_severity
from dpo_core.encoding.packing import pack
from dpo_core.encoding.token_table import encoding_report
from dpo_core.models.load import check_local_model, load_shapes
from dpo_core.settings import DEFAULT_ROW_TOKENS
from dpo_core.training.trl_fields import check_trl_fields
from dpo_core.wording import counted
from sweeps.config.nightly import NightSettings
from sweeps.config.schema import SweepConfig
from sweeps.finalize.final_split import NIGHTS, ONE_SWEEP
from sweeps.preflight.dry_run import DryRun, dry_run
from sweeps.preflight.json_types import Plan, ScoringPlan
from sweeps.preflight.sensitivity import sensitivity, sensitivity_lines
from sweeps.prepare.audit_report import finding_json, finding_lines, skipped_rows
from sweeps.prepare.column_use import column_lines
from sweeps.prepare.data import full_splits, reading_report
from sweeps.prepare.memory_estimate import estimated_bytes_per_token, memory_bytes, model_size
from sweeps.prepare.model_check import check_tokens
from sweeps.prepare.reading_findings import reading_findings
from sweeps.prepare.score_precision import (
    choose_score_dtype,
    scoring_shares,
    sweep_tokens,
)
from sweeps.run_dir.adapter_coverage import coverage_findings, coverage_in_words
from sweeps.run_dir.json_types import CoverageJson
from sweeps.run_dir.paths import SPLITS
from sweeps.selection.statistics import Groups
from sweeps.selection.trial_counts import new_seeds_in_words, trials_in_words

GIB = 2**30
_CUTS = {
    "oldest_turns": "oldest turns",
    "last_turns": "the start of the last turn",
    "answers": "ends of answers",
}


def make_plan(config: SweepConfig) -> Plan:
    """Estimate a sweep; keys name the units. Raises UserError where `run` would."""
    check_trl_fields(config.training.trl)
    with dry_run(config) as run:
        check_local_model(config.model)
        path = config.model.path
        check_tokens(path, load_shapes(config.model), run.tokenizer, run.tokens.values())
        return _plan(config, run)


def _plan(config: SweepConfig, run: DryRun) -> Plan:
    data, tokens = run.data, run.tokens
    reading = reading_report(data, run.splits)
    size = model_size(config.model)
    coverage = size.coverage_json
    findings = [*run.findings, *reading_findings(reading), *coverage_findings(coverage)]
    reports = {split: encoding_report(tokens[split]) for split in SPLITS}
    train = reports["train"]
    counts = sweep_tokens(config, {split: reports[split].as_dict() for split in SPLITS})
    steps = config.training.steps(train.pairs - train.indistinct)
    evaluations = config.training.evaluation_steps(steps)
    trials = config.planned_trials
    again = config.selection.confirm.trials(trials)
    rows = pack(tokens["train"], config.training.row_tokens or DEFAULT_ROW_TOKENS)
    longest = max(int(tokens["train"].tokens[list(row)].sum()) for row in rows)
    return {
        "name": config.name,
        "trials": trials,
        "shortage": config.shortage,
        "confirmation": {
            "points": min(config.selection.confirm.top, trials),
            "seeds": config.selection.confirm.seeds,
            "trials": again,
        },
        "steps_per_trial": steps,
        "evaluation_steps": list(evaluations),
        "pairs": {s: reports[s].pairs for s in SPLITS},
        "pairs_over_limit": dict(run.splits.over_limit),
        "pairs_by_source": dict(Counter(data.pairs.column("source"))),
        "golden_waiting": data.pairs.unanswered_count,
        "findings": [finding_json(finding) for finding in by_severity(findings)],
        "annotator_agreement": data.agreement,
        "rows_skipped": reading["rows_skipped"],
        "no_pair": {source: each["counts"] for source, each in reading["no_pair"].items()},
        "columns": reading["columns"],
        # Once a pair, though both its prompt and its answers may have been cut.
        "pairs_cut": {s: int(tokens[s].cut.sum()) for s in SPLITS},
        "cut_by_kind": {
            split: {
                "oldest_turns": report.turns_dropped,
                "last_turns": report.questions_cut,
                "answers": report.answers_cut,
            }
            for split, report in reports.items()
        },
        "pairs_merged": {split: report.merged for split, report in reports.items()},
        "pairs_indistinct": {s: reports[s].indistinct for s in SPLITS},
        "mean_response_tokens": train.mean_response_tokens,
        "beta_per_token_factor": train.mean_response_tokens,
        "tokens": {
            "reference_once": sum(counts.in_split.values()),
            "trained_per_trial": int(counts.trained_per_trial),
            "evaluated_per_trial": counts.evaluated_per_trial,
            "sweep": counts.sweep,
        },
        "scoring": {
            "dtype": choose_score_dtype(config, counts),
            "share_by_dtype": scoring_shares(config, counts),
        },
        "parameters": {
            name: getattr(size, name)
            for name in ("total", "trained", "layers", "hidden", "vocabulary")
        },
        "adapter_coverage": coverage,
        "memory_bytes_per_worker": memory_bytes(config, size, longest),
        "memory_bytes_not_shared": memory_bytes(
            config, size, longest, estimated_bytes_per_token(config, size, shared=False)
        ),
        "sensitivity": {
            split: sensitivity(
                Groups.of([pair.group for pair in getattr(run.splits, split)]), openings
            )
            for split, openings in (("select", 1), ("final", _final_openings(config)))
        },
        "resources_per_trial": {
            "workers": config.resources.workers,
            "cpus": config.resources.workers * config.resources.cpus_per_worker,
            "gpus": config.resources.workers * config.resources.gpus_per_worker,
        },
    }


def _final_openings(config: SweepConfig) -> int:
    """Return for how many openings final is declared.

    A YAML that changes a setting of `nightly` is taken to be of nights.
    """
    is_of_nights = config.nightly != NightSettings()
    return config.selection.final_openings or (NIGHTS if is_of_nights else ONE_SWEEP)


def plan_lines(plan: Plan) -> list[str]:
    """Return a plan as lines for a reader."""
    pairs, tokens, need = plan["pairs"], plan["tokens"], plan["resources_per_trial"]
    parameters = plan["parameters"]
    lines = [
        f"{trials_in_words(plan['trials'], plan['confirmation']['trials'])}, with "
        f"{counted(plan['steps_per_trial'], 'step')} each, scored after steps "
        f"{', '.join(map(str, plan['evaluation_steps']))}",
        f"pairs: {pairs['train']} train, {pairs['select']} select, {pairs['final']} final; "
        f"answers have {plan['mean_response_tokens']:.0f} tokens on average",
        f"tokens: {tokens['reference_once']:,} once for the reference, then "
        f"{tokens['trained_per_trial']:,} trained and {tokens['evaluated_per_trial']:,} scored a trial",
        f"parameters: {parameters['total']:,}, of which {parameters['trained']:,} are trained",
        *_adapter_line(plan["adapter_coverage"]),
        f"memory: about {plan['memory_bytes_per_worker'] / GIB:.1f} GiB a worker; "
        f"{plan['memory_bytes_not_shared'] / GIB:.1f} GiB if its layers cannot share prompts, which "
        "preparing the sweep measures; a trial has "
        f"{counted(need['workers'], 'worker')}, {counted(need['cpus'], 'CPU')}, "
        f"{counted(need['gpus'], 'GPU')}",
        f"β of a per-token loss (mean, simpo) is the point's beta times "
        f"{plan['beta_per_token_factor']:.0f}",
        *sensitivity_lines(plan["sensitivity"]),
    ]
    full = full_splits(plan["pairs_over_limit"])
    if full is not None:
        lines.append(f"pairs: {full}")
    if len(plan["scoring"]["share_by_dtype"]) > 1:
        lines.append(_scoring_line(plan["scoring"]))
    if plan["shortage"]:
        lines.append(plan["shortage"])
    again = plan["confirmation"]
    if again["trials"]:
        lines.append(
            f"confirmation: {counted(again['trials'], 'more trial')} to train the best "
            f"{counted(again['points'], 'point')} again with {new_seeds_in_words(again['seeds'])} "
            "each; selection.confirm.top=0 leaves them out"
        )
    if len(plan["pairs_by_source"]) > 1:
        named = (f"{source} {count}" for source, count in plan["pairs_by_source"].items())
        lines.append(f"pairs by source: {', '.join(named)}")
    cuts = {kind: sum(c[kind] for c in plan["cut_by_kind"].values()) for kind in _CUTS}
    if any(cuts.values()):
        kinds = (
            f"{words} of {counted(cuts[kind], 'pair')}"
            for kind, words in _CUTS.items()
            if cuts[kind]
        )
        lines.append(f"cut to fit data.max_tokens: {', '.join(kinds)}")
    if plan["golden_waiting"]:
        lines.append(
            f"golden answers: the model first answers {counted(plan['golden_waiting'], 'prompt')} "
            "itself; here its answers count as long as the golden ones"
        )
    lines += column_lines(plan["columns"])
    for source, alpha in plan["annotator_agreement"].items():
        lines.append(f"annotators of {source} agree with Krippendorff's α = {alpha:.2f}")
    if plan["rows_skipped"]:
        lines.append(skipped_rows(plan["rows_skipped"]))
    for source, counts in plan["no_pair"].items():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        lines.append(f"no pair is made of {source}'s {reasons}")
    for finding in plan["findings"]:
        if finding["severity"] != INFO:
            lines += finding_lines(finding)
    return lines


def _adapter_line(coverage: CoverageJson | None) -> list[str]:
    return [f"the adapter changes {coverage_in_words(coverage)}"] if coverage else []


def _scoring_line(scoring: ScoringPlan) -> str:
    shares = scoring["share_by_dtype"]
    return (
        "scoring held-out pairs takes "
        + ", ".join(
            f"{100 * share:.0f} % of the compute in {dtype}" for dtype, share in shares.items()
        )
        + f"; they are scored in {scoring['dtype']} (selection.score_dtype)"
    )
