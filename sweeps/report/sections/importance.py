"""The section on which hyperparameters mattered: Optuna's PED-ANOVA over the trials of the search.

PED-ANOVA (arXiv:2304.10255; for hyperparameters that only some trials have: arXiv:2601.20800) needs
only Optuna, while fANOVA would need scikit-learn and a space without conditions.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from search_spaces import Space
from sweeps.report.blocks import Plot, Section, Text
from sweeps.report.plots import bars_and_intervals, text_plots
from sweeps.report.report_data import ReportData
from sweeps.run_dir.ledger import TrialRecord, searched
from sweeps.selection.ordering import best_accuracy

FEWEST_TRIALS = 10
BEST_SHARE = 0.25
"""Share of the trials that count as good. The usual tenth of few trials would be one or two of them."""


def importance_section(data: ReportData) -> Section | None:
    """Plot the importance of each hyperparameter, or say that there are too few trials for it.

    There is no such section where no trial moved the model: its accuracies say nothing.
    """
    candidates = data.selection.get("candidates") or ()
    if candidates and not any(candidate.get("eligible", True) for candidate in candidates):
        return None
    shares = importance(data.config.search_space, searched(data.records), data.objective)
    if shares is None:
        text = (
            f"Importance is computed from at least {FEWEST_TRIALS} evaluated trials that differ in "
            f"hyperparameters and accuracy; {len(data.evaluated_trials)} were evaluated here."
        )
        return Section("importance", "Importance of hyperparameters", (Text(text, "note"),))
    names, values = list(shares), list(shares.values())
    lines = text_plots.draw_bars(names, values, [f"{share:.2f}" for share in values])
    figure = bars_and_intervals.draw_bars(names, values, "share (PED-ANOVA)")
    caption = "Importance of each hyperparameter for being among the best trials"
    note = Text(
        "Computed with PED-ANOVA over the trials in the ledger. This is only a hint where there are "
        "few trials, or where the search itself chose the points.",
        "note",
    )
    plot = Plot("importance", caption, figure, lines)
    return Section("importance", "Importance of hyperparameters", (plot, note))


def importance(
    space: Space, records: Sequence[TrialRecord], objective: str
) -> dict[str, float] | None:
    """Compute how much each hyperparameter decides whether a trial is among the best.

    Args:
        space: The search space; trials with a point outside of it are left out.
        records: Trials of the search.
        objective: Name of the accuracy of which a trial has its best value.

    Returns:
        The share of each hyperparameter that varied, in [0, 1], largest first; None where fewer than
        `FEWEST_TRIALS` trials were evaluated, or all are equal.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    from sweeps.search.study import distribution

    evaluated = [(r, best_accuracy(r, objective)) for r in records if space.contains(r.point)]
    scored = [(record, accuracy) for record, accuracy in evaluated if accuracy is not None]
    if len(scored) < FEWEST_TRIALS or len({accuracy for _, accuracy in scored}) < 2:
        return None
    axes = space.axis_of_keys()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for record, accuracy in scored:
        # A hyperparameter has one name, whatever range it has in the branch of this trial.
        names = [name for name in space.names if name in record.point]
        keys = zip(names, space.keys_of(record.point), strict=True)
        kinds = {name: distribution(axes[key]) for name, key in keys}
        study.add_trial(
            create_trial(value=accuracy, params=dict(record.point), distributions=kinds)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
        shares: dict[str, float] = get_param_importances(study, evaluator=evaluator)
    varied = {
        name: share
        for name, share in shares.items()
        if len({record.point.get(name) for record, _ in scored}) > 1
    }
    return varied or None
