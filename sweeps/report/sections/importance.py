"""Which hyperparameter mattered: Optuna's PED-ANOVA over the ledger's trials.

PED-ANOVA (arXiv:2304.10255; axes that exist in some trials only: arXiv:2601.20800) needs nothing
beyond Optuna, where fANOVA wants scikit-learn and one flat space.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from search_spaces import Space
from sweeps.report.blocks import Block, Plot, Section, Text
from sweeps.report.plots import bars_and_intervals, text_plots
from sweeps.report.report_data import Evidence
from sweeps.run_dir.ledger import TrialRecord, searched

FEWEST_TRIALS = 10
BEST_SHARE = 0.25
"""What counts as good: with the usual tenth of few trials, one or two would decide everything."""


def importance(
    space: Space, records: Sequence[TrialRecord], objective: str
) -> dict[str, float] | None:
    """Share of each axis, largest first; None when there are too few evaluated trials."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    from sweeps.search.study import distribution

    evaluated = [(r, r.best_accuracy(objective)) for r in records if space.contains(r.point)]
    scored = [(record, value) for record, value in evaluated if value is not None]
    if len(scored) < FEWEST_TRIALS or len({value for _, value in scored}) < 2:
        return None
    axes = space.axis_of_keys()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for record, value in scored:
        # One name an axis, whatever range it has in this trial's branch.
        names = [name for name in space.names if name in record.point]
        keys = zip(names, space.keys_of(record.point), strict=True)
        kinds = {name: distribution(axes[key]) for name, key in keys}
        study.add_trial(create_trial(value=value, params=dict(record.point), distributions=kinds))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
        found = get_param_importances(study, evaluator=evaluator)
    varied = {
        name: v for name, v in found.items() if len({r.point.get(name) for r, _ in scored}) > 1
    }
    return varied or None


def importance_section(evidence: Evidence) -> Section:
    found = importance(evidence.config.search_space, searched(evidence.records), evidence.objective)
    if found is None:
        count = sum(row["accuracy"] is not None for row in evidence.rows)
        text = (
            f"Too few trials to say: {count} were evaluated, {FEWEST_TRIALS} with different "
            "accuracies are the least that this needs."
        )
        return Section("importance", "What mattered", (Text(text, "note"),))
    names, values = list(found), list(found.values())
    lines = text_plots.bars(names, values, [f"{v:.2f}" for v in values])
    figure = bars_and_intervals.bars(names, values, "share (PED-ANOVA)")
    blocks: list[Block] = [
        Plot(
            "importance", "Importance of each axis for being among the best trials", figure, lines
        ),
        Text(
            "PED-ANOVA over the ledger's trials. With few trials, or points that the search itself "
            "chose, read it as a hint.",
            "note",
        ),
    ]
    return Section("importance", "What mattered", tuple(blocks))
