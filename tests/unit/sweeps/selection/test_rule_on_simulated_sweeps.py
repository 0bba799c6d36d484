"""Can the choice be trusted? On simulated sweeps in which one trial did nothing and one collapsed,
and on a recorded trial that collapsed.

The bench runs more of them: `python -m tests.bench --only choice`.
"""

from __future__ import annotations

import numpy as np
import pytest

from sweeps.run_dir.ledger import TrialRecord
from tests.bench import choice
from tests.bench.choice import Chosen, draw, policies, rows, simulate
from tests.support.recorded_trial import recorded_outcomes


@pytest.fixture(scope="module")
def chosen() -> dict[str, Chosen]:
    return simulate(200, 150)


def test_the_choice_is_nearly_as_accurate_as_the_maximum(chosen: dict[str, Chosen]) -> None:
    ours, maximum, _ = chosen.values()
    assert maximum.truth - ours.truth <= 0.004, "0.1 to 0.2 points over many repetitions"


def test_what_did_nothing_and_what_collapsed_never_win(chosen: dict[str, Chosen]) -> None:
    ours, _, least_drift = chosen.values()
    assert (ours.untouched, ours.collapsed) == (0.0, 0.0)
    assert least_drift.untouched > 0.1, "least drift within a standard error takes what did least"


def test_final_shows_the_true_accuracy(chosen: dict[str, Chosen]) -> None:
    ours = next(iter(chosen.values()))
    assert abs(ours.bias) <= 0.007, "one standard error of 150 means of 200 pairs is 0.0027"


def test_without_answers_the_gain_of_chosen_answers_takes_fewer_collapsed_ones() -> None:
    ours, maximum, _ = simulate(200, 150, answers=False).values()
    assert ours.collapsed < maximum.collapsed


def test_a_collapse_is_drawn_and_fewer_prompts_catch_it_less_often() -> None:
    """The guardrail on loops excludes it, not a decree: of 15 prompts it sees one in two."""
    rng, found = np.random.default_rng(0), {}
    for pairs in (15, 64):
        rules = choice.CandidateRules(
            choice.SelectionSettings(), 0.1, choice.Groups(np.arange(pairs, dtype=np.int64))
        )
        [*_, collapsed] = policies(rng)
        [(policy, outcomes)] = draw(rng, [collapsed], pairs)
        drawn = [choice._candidate(rules, policy, outcomes, rng) for _ in range(60)]
        found[pairs] = np.mean([c.checks["loops"].excludes for c in drawn])
    assert 0.2 < found[15] < 0.8
    assert found[64] > 0.95


def test_where_every_trial_did_nothing_there_is_no_winner() -> None:
    rng = np.random.default_rng(0)
    untouched = [p for p in policies(rng) if p.name == "untouched"]
    groups = choice.Groups(np.arange(200, dtype=np.int64))
    rules = choice.CandidateRules(choice.SelectionSettings(), 0.1, groups)
    [(policy, outcomes)] = draw(rng, untouched, 200)
    candidate = choice._candidate(rules, policy, outcomes, rng)
    assert candidate.accuracy > 0.55, "it looks better than the reference"
    assert choice.our_rule([candidate], groups) is None


def test_policies_of_one_sweep_err_on_the_same_pairs() -> None:
    rng = np.random.default_rng(0)
    one, other = list(draw(rng, policies(rng)[:2], 4000))[:2]
    for policy, outcomes in (one, other):
        accuracy = outcomes.count("reward_accuracy").accuracy
        assert accuracy == pytest.approx(policy.accuracy, abs=0.03)
    correlation = np.corrcoef(one[1].signs("reward_accuracy"), other[1].signs("reward_accuracy"))
    assert 0.3 < correlation[0, 1] < 0.7


def test_the_benchs_rows_judge_the_size_that_the_goals_are_about(chosen) -> None:
    measured = {"200 pairs": chosen, "50 pairs": chosen}
    judged = [row for row in rows(measured) if row.goal is not None]
    assert len(judged) == 4
    assert all(row.what.startswith("choice, 200 pairs") for row in judged)


RECORDED = recorded_outcomes()
ALL = choice.Groups(np.arange(38, dtype=np.int64))
RULES = choice.CandidateRules(choice.SelectionSettings(), 0.1, ALL)


def recorded(step: int) -> choice.Candidate:
    trial = TrialRecord("t0000", {"beta": 0.1}, "finished", 0)
    return RULES.candidate(trial, step, RECORDED[step])


def test_of_a_recorded_trial_the_checkpoint_before_the_collapse_is_chosen() -> None:
    """One pair of 38 is all that the later ones rank better; their chosen answers lost."""
    candidates = [recorded(step) for step in (10, 20, 30, 40)]
    assert [round(c.accuracy * 38) for c in candidates] == [36, 37, 37, 37]
    assert [round(c.chosen_gain, 2) for c in candidates] == [0.04, -0.21, -0.52, -0.62]
    assert all(c.eligible for c in candidates)
    winner = choice.our_rule(candidates, ALL)
    assert winner is not None
    assert winner.step == 10
    without = choice.our_rule(candidates[1:], ALL)
    assert without is not None
    assert without.step == 20


def test_a_smooth_score_of_the_margins_would_take_the_collapse() -> None:
    margins = {step: outcomes.margins("reward_accuracy") for step, outcomes in RECORDED.items()}
    means = [float(margins[step].mean()) for step in (10, 20, 30, 40)]
    assert means == sorted(means), "the mean margin grows all the way"
    scores = {
        step: max(-np.logaddexp(0, -t * h).mean() for t in (0.01, 0.03, 0.1, 0.3, 1.0))
        for step, h in margins.items()
    }
    assert max(scores, key=scores.__getitem__) >= 30


def test_the_same_trial_with_a_tiny_learning_rate_would_not_be_eligible() -> None:
    """Its margins shrunk to where no answer moved by more than 0.0022 nats."""
    moved = RECORDED[10]
    shrink = 0.0022 / np.abs(moved.margins("reward_accuracy")).max()
    untouched = choice.Outcomes(
        moved.ids,
        moved.ref_chosen_logp + shrink * moved.chosen_gain,
        moved.ref_rejected_logp + shrink * moved.rejected_gain,
        moved.ref_chosen_logp,
        moved.ref_rejected_logp,
        moved.chosen_tokens,
        moved.rejected_tokens,
    )
    trial = TrialRecord("t0000", {"beta": 0.1}, "finished", 0)
    candidate = RULES.candidate(trial, 10, untouched)
    assert candidate.accuracy > 0.9, "its signs are right all the same"
    assert choice.our_rule([candidate], ALL) is None
