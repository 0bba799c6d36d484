"""The choice: guardrails, the one-standard-error rule, what must stay on disk; and its honesty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.storage.store import Store
from sweeps.config.selection import GuardrailSettings
from sweeps.finalize.final_split import FinalSpent, open_final, read_openings
from sweeps.finalize.finalize import choose_with_answers
from sweeps.run_dir.answers import name_of
from sweeps.selection.guardrails import Check, broken, checks, offline_values
from sweeps.selection.ordering import ranked
from sweeps.selection.rule import Candidate, can_still_win, choose, runner_up
from sweeps.selection.statistics import Comparison, Groups
from sweeps.selection.verdict import BETTER, SAME, WORSE, judge, nothing_admissible, word_of
from tests.support.records import REWARD, outcomes

PAIRS = 100
GROUPS = Groups(np.arange(PAIRS, dtype=np.int64) // 2)
BROKEN = {"drift_chosen": Check(9.0, 0.5, False, "exclude")}
WARNED = {"displaced": Check(0.9, 0.5, False, "warn")}


def candidate(trial: str, right: int, drift: float, step: int = 10, **changes) -> Candidate:
    """Right on the first `right` of 100 pairs."""
    scores = (np.arange(PAIRS) < right).astype(np.float64)
    changes = {"checks": checks({}, GuardrailSettings()), **changes}
    return Candidate(trial, step, 0, {}, scores, drift, **changes)


def place(*candidates: Candidate):
    winner = choose(candidates, GROUPS).winner
    return winner and winner.checkpoint


def test_a_clear_lead_wins_whatever_it_drifted() -> None:
    assert place(candidate("t0000", 80, 0.4), candidate("t0001", 60, 0.1)) == ("t0000", 10)


def test_within_a_standard_error_the_one_that_drifted_least_wins() -> None:
    # They differ on two pairs of one prompt: one of 50 groups, residual 2 · 0.98 and 49 · 0.04:
    # √((1.96² + 49 · 0.04²) · 50/49) / 100 = 2.0 points, as much as the gap.
    close = candidate("t0000", 80, 0.4), candidate("t0001", 78, 0.1)
    assert place(*close) == ("t0001", 10)
    assert [c.trial for c in choose(close, GROUPS).shortlist] == ["t0000", "t0001"]


def test_then_the_earlier_step_then_the_name() -> None:
    assert place(candidate("t0000", 80, 0.1, step=20), candidate("t0001", 80, 0.1)) == ("t0001", 10)
    assert place(candidate("t0001", 80, 0.1), candidate("t0000", 80, 0.1)) == ("t0000", 10)


def test_what_is_as_accurate_as_a_shortlisted_one_is_shortlisted() -> None:
    """Even where it is told apart from the best, for it errs on other pairs."""
    best, near = candidate("t0000", 80, 0.5), candidate("t0001", 78, 0.4)
    scores = best.scores.copy()
    scores[:1], scores[99] = 0, 0  # one pair less: a gap of 1 point and an error of 1 point
    between = Candidate("t0002", 10, 0, {}, scores, 0.1)
    assert place(best, near, between) == ("t0002", 10)


def test_what_a_guardrail_excludes_cannot_win() -> None:
    drifted = candidate("t0000", 99, 9.0, checks=BROKEN)
    honest = candidate("t0001", 60, 0.2, checks=WARNED)
    assert place(drifted, honest) == ("t0001", 10)
    assert place(drifted) is None
    assert choose([drifted], GROUPS).shortlist == ()


def test_the_runner_up_is_of_another_trial() -> None:
    everyone = [
        candidate("t0000", 80, 0.3),
        candidate("t0000", 79, 0.2, 5),
        candidate("t0001", 60, 0),
    ]
    choice = choose(everyone, GROUPS)
    assert runner_up(choice, everyone, GROUPS).checkpoint == ("t0001", 10)
    assert runner_up(choose(everyone[:2], GROUPS), everyone[:2], GROUPS) is None


fields = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from([0.0, 0.1, 0.2, 0.3]), st.booleans()),
    min_size=1,
    max_size=9,
)


def field(rows, seed: int = 0) -> list[Candidate]:
    """Candidates whose luck is their own: right on about 50 to 85 % of the pairs."""
    found = []
    for number, (skill, drift, over) in enumerate(rows):
        rng = np.random.default_rng((seed, number))
        scores = (rng.random(PAIRS) < 0.5 + skill / 20).astype(np.float64)
        found.append(
            Candidate(
                f"t{number // 2:04d}",
                1 + number % 2,
                0,
                {},
                scores,
                drift,
                BROKEN if over else {},
            )
        )
    return found


@settings(deadline=None)
@given(fields, st.randoms(use_true_random=False), st.integers(0, 99))
def test_the_order_moves_nothing(rows, random, seed) -> None:
    everyone = field(rows, seed)
    shuffled = random.sample(everyone, len(everyone))
    one, other = choose(everyone, GROUPS), choose(shuffled, GROUPS)
    assert [c.checkpoint for c in one.shortlist] == [c.checkpoint for c in other.shortlist]
    assert (one.winner and one.winner.checkpoint) == (other.winner and other.winner.checkpoint)
    assert [c.checkpoint for c in ranked(everyone)] == [c.checkpoint for c in ranked(shuffled)]
    assert can_still_win(everyone, GROUPS, 2) == can_still_win(shuffled, GROUPS, 2)


@settings(deadline=None)
@given(fields, st.integers(0, 99))
def test_the_winner_is_admissible_and_on_the_front(rows, seed) -> None:
    everyone = field(rows, seed)
    winner = choose(everyone, GROUPS).winner
    admissible = [c for c in everyone if c.admissible]
    assert (winner is None) == (not admissible)
    for other in admissible:
        assert other.accuracy < winner.accuracy or other.drift >= winner.drift


@settings(deadline=None)
@given(fields, st.integers(0, 99), st.integers(1, 3))
def test_whatever_wins_in_the_end_was_never_cleared(rows, seed, spares) -> None:
    """Candidates come one by one; what is cleared once is gone."""
    everyone = field(rows, seed)
    kept: set = set()
    for number in range(1, len(everyone) + 1):
        kept |= {everyone[number - 1].checkpoint}
        kept &= can_still_win(everyone[:number], GROUPS, spares)
    winner = choose(everyone, GROUPS).winner
    assert winner is None or winner.checkpoint in kept


def test_the_next_choices_stay_too() -> None:
    everyone = [candidate(f"t{i:04d}", 90 - 10 * i, 0.1 + i) for i in range(5)]
    kept = can_still_win(everyone, GROUPS, 3)
    assert kept == {("t0000", 10), ("t0001", 10), ("t0002", 10)}
    assert can_still_win([], GROUPS, 3) == set()


# Who would win is asked for answers


def answering(*rambling: str):
    """Candidates of the named trials write twice as long as the reference; it notes who was asked."""
    asked = []

    def ask(candidate: Candidate):
        asked.append(candidate.trial)
        own = [list(range(20 if candidate.trial in rambling else 10))]
        by = {"reference": [list(range(10))], name_of(candidate.checkpoint): own}
        return {"by": {whom: [{"tokens": t} for t in tokens] for whom, tokens in by.items()}}

    return ask, asked


def elected(everyone, ask, **guardrails):
    known, choice = choose_with_answers(everyone, GROUPS, GuardrailSettings(**guardrails), ask)
    return {c.checkpoint: c for c in known}, choice.winner and choice.winner.trial


FOUR = [candidate(f"t{i:04d}", 90 - 10 * i, 0.1 + i) for i in range(4)]


def test_only_those_who_would_win_are_asked() -> None:
    ask, asked = answering()
    known, winner = elected(FOUR, ask)
    assert (winner, asked) == ("t0000", ["t0000"])
    assert known["t0000", 10].checks["length_growth"] == Check(1.0, 1.5, True, "exclude")
    assert len(known) == 4


def test_longer_answers_exclude_and_the_next_is_asked() -> None:
    ask, asked = answering("t0000", "t0001")
    known, winner = elected(FOUR, ask)
    assert (winner, asked) == ("t0002", ["t0000", "t0001", "t0002"])
    assert known["t0000", 10].checks["length_growth"] == Check(2.0, 1.5, False, "exclude")
    assert not known["t0000", 10].admissible


def test_longer_answers_warn_if_told_so() -> None:
    ask, asked = answering("t0000")
    assert elected(FOUR, ask, length_growth={"action": "warn"})[1] == "t0000"
    assert asked == ["t0000"]


def test_when_all_ramble_nobody_wins() -> None:
    ask, asked = answering(*(c.trial for c in FOUR))
    known, winner = elected(FOUR, ask)
    assert winner is None
    assert len(asked) == 4
    assert not any(c.admissible for c in known.values())


def test_who_said_nothing_is_taken_as_it_is() -> None:
    assert elected(FOUR, lambda _: {"by": {}})[1] == "t0000"


def test_who_has_no_checkpoint_left_is_passed_over() -> None:
    ask, _ = answering()
    known, winner = elected(FOUR, lambda c: None if c.trial == "t0000" else ask(c))
    assert winner == "t0001"
    assert known["t0000", 10].admissible


# Guardrails


def test_offline_values_by_hand() -> None:
    assert offline_values(outcomes(), REWARD) == pytest.approx(
        {
            "drift_chosen": 0.05,
            "drift_rejected": 0.125,
            "displaced": 0.2,
            "length_controlled_loss": 0.5 - 0.625,
        }
    )


def test_a_check_is_passed_broken_or_not_known() -> None:
    found = checks({"drift_chosen": 1.0, "displaced": 0.7, "repetition": float("nan")}, RAILS)
    assert found["drift_chosen"] == Check(1.0, 1.0, True, "exclude")
    assert found["displaced"] == Check(0.7, 0.5, False, "warn")
    assert not found["displaced"].excludes
    assert found["repetition"] == Check(None, 0.2, False, "exclude"), "no number breaks a limit"
    assert found["repetition"].excludes
    assert found["length_growth"] == Check(None, 1.5, None, "exclude")
    assert not found["length_growth"].excludes
    assert set(found) == set(RAILS.named)


def test_a_broken_guardrail_in_words() -> None:
    assert broken("drift_chosen", 1.625, 1.0) == "drift_chosen is 1.62, over its limit 1"
    assert broken("repetition", None, 0.2) == "repetition is no number, over its limit 0.2"


RAILS = GuardrailSettings()


# Final


def test_final_is_opened_once_and_the_record_says_when_and_for_whom(tmp_path) -> None:
    store = Store.open(tmp_path)
    open_final(store, "final_opened.json", "t0001 at step 8", "2026-01-01T00:00:00+00:00")
    open_final(store, "final_opened.json", "t0001 at step 8", "2026-01-02T00:00:00+00:00")
    [first] = read_openings(store, "final_opened.json")
    assert vars(first) == {
        "when": "2026-01-01T00:00:00+00:00",
        "why": "t0001 at step 8",
        "forced": False,
    }
    with pytest.raises(FinalSpent, match=r"was opened on 2026-01-01.* needs .*--open-final-again"):
        open_final(store, "final_opened.json", "t0002 at step 4", "2026-01-03T00:00:00+00:00")
    assert read_openings(store, "final_opened.json") == [first]
    open_final(store, "final_opened.json", "t0002 at step 4", "2026-01-03", force=True)
    assert [o.forced for o in read_openings(store, "final_opened.json")] == [False, True]


@pytest.mark.parametrize(
    ("interval", "p_value", "word"),
    [
        ((0.01, 0.05), 0.01, BETTER),
        ((-0.01, 0.05), 0.04, SAME),
        ((0.01, 0.05), 0.06, SAME),
        ((-0.05, -0.01), 0.01, WORSE),
    ],
)
def test_a_verdict_needs_the_interval_and_the_p_value(interval, p_value, word) -> None:
    comparison = Comparison(sum(interval) / 2, interval, p_value)
    assert word_of(comparison) == word
    told = judge(comparison, "t0001 at step 8", 412, "incumbent")
    assert (told.word, told.as_dict()["against"]) == (word, "incumbent")
    assert ("keep the incumbent" in told.sentence) == (word != BETTER)


def test_a_verdict_in_words() -> None:
    told = judge(Comparison(0.0312, (0.01, 0.0525), 0.0004), "t0001 at step 8", 412, "reference")
    assert told.sentence == (
        "t0001 at step 8 is better than the reference: +3.1 points on 412 final pairs, "
        "95 % interval +1.0 to +5.2, p < 0.001"
    )
    third = judge(Comparison(0.03, (0.01, 0.05), 0.02), "t0001 at step 8", 412, "reference", 3)
    assert (third.word, third.comparison.p_value) == (SAME, pytest.approx(0.06))
    assert third.sentence.endswith("p = 0.060, final opened 3 times")
    nothing = nothing_admissible(6, {"drift_chosen": 6, "repetition": 1}, "reference")
    assert nothing.sentence == (
        "none of 6 candidates is admissible, so keep the reference; "
        "excluded by guardrails: drift_chosen 6, repetition 1"
    )
    assert nothing.as_dict()["interval"] is None
