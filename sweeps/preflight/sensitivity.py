"""The sensitivity of held-out pairs: what they can show, before anything is trained, for `plan`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dpo_core.wording import counted
from sweeps.preflight.json_types import SensitivityPlan
from sweeps.selection.statistics import (
    CORRELATION,
    Groups,
    detectable_gain,
    fewest_groups,
    fewest_pairs,
    significance_level,
)

DISCORDANCE = 0.1
"""Share of the pairs that an incumbent is taken to rank differently."""


def sensitivity(groups: Groups, openings: int = 1) -> SensitivityPlan:
    """Return what the pairs of a split can show, as `plan` holds it.

    Args:
        groups: Prompt groups of the pairs.
        openings: For how many openings the split is declared.

    Returns:
        Standard error, gains and numbers of pairs.
    """
    discordances = {"reference": None, "incumbent": DISCORDANCE}
    design_effect = groups.design_effect()
    return {
        "openings": openings,
        "pairs": len(groups.codes),
        "groups": len(groups.sizes),
        "design_effect": design_effect,
        "standard_error": 0.5 * (design_effect / len(groups.codes)) ** 0.5,
        "detectable_gain": {
            o: detectable_gain(groups, d, openings) for o, d in discordances.items()
        },
        "fewest_pairs": {o: fewest_pairs(groups, d, openings) for o, d in discordances.items()},
    }


def sensitivity_lines(by_split: Mapping[str, SensitivityPlan]) -> Iterator[str]:
    """Yield what the pairs of each split can show, as lines for a reader."""
    select = by_split["select"]
    yield (
        f"choosing: one accuracy has a standard error of {100 * select['standard_error']:.1f} points "
        f"on {_pairs('select', select)}"
    )
    yield f"verdict: {_verdict(by_split['final'])}"


def _verdict(final: SensitivityPlan) -> str:
    gain, pairs = final["detectable_gain"], f"{_pairs('final', final)}{_declared(final)}"
    if gain["reference"] is None:
        fewest = fewest_groups(significance_level(final["openings"]))
        few = f", as no {fewest - 1} groups can" if final["groups"] < fewest else ""
        return (
            f"{pairs} can show nothing{few}; it takes {final['fewest_pairs']['reference']} or more"
        )
    shown = (
        f"{pairs} show, four times in five, gains of {_points(gain['reference'])} points over the "
        "reference"
    )
    other = f"an incumbent that ranks {100 * DISCORDANCE:.0f} % of pairs differently"
    if gain["incumbent"] is None:
        return f"{shown}, and none over {other}: that takes {final['fewest_pairs']['incumbent']}"
    return f"{shown}, and of {_points(gain['incumbent'])} over {other}"


def _pairs(split: str, sensitivity: SensitivityPlan) -> str:
    """Name the pairs of a split, with their groups where they are fewer."""
    pairs, groups = sensitivity["pairs"], sensitivity["groups"]
    named = counted(pairs, f"{split} pair")
    if groups == pairs:
        return named
    return (
        f"{named} in {counted(groups, 'group')} of near-duplicate prompts (taken to "
        f"correlate by {CORRELATION:g})"
    )


def _declared(final: SensitivityPlan) -> str:
    openings = final["openings"]
    return f", declared for {openings} openings," if openings > 1 else ""


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
