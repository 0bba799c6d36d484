"""Held-out preference accuracy: exact, tie-aware, and indifferent to everything but the pairs."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core.evaluation.outcomes import (
    NUMBER_COLUMNS,
    OBJECTIVES,
    TIE_NATS,
    Count,
    Outcomes,
    build_outcomes,
    label_slices,
    length_slices,
    read_outcomes,
    read_outcomes_if_whole,
    write_outcomes,
)
from tests.support.toys import toy_encoded

TIE = TIE_NATS


def outcomes(*rows: tuple[float, float, float, float, int, int], **changes: Any) -> Outcomes:
    """Rows of log π(y_w), log π(y_l), log π_ref(y_w), log π_ref(y_l), |y_w|, |y_l|."""
    columns = list(zip(*rows, strict=True)) or [()] * 6
    floats = [np.array(c, dtype=np.float64) for c in columns[:4]]
    ints = [np.array(c, dtype=np.int64) for c in columns[4:]]
    ids = tuple(f"pair-{i}" for i in range(len(rows)))
    return Outcomes(ids, *floats, *ints, **changes)


# Δ_w and Δ_l by hand; the objectives disagree on purpose.
BY_HAND = outcomes(
    #  π_w    π_l   ref_w  ref_l |w| |l|        Δ_w  Δ_l   margin  per token       π_w − π_l
    (-4.0, -9.0, -6.0, -8.0, 4, 2),  #           2   −1    3       .5 + .5 = 1     5
    (-9.0, -4.0, -12.0, -6.0, 10, 2),  #         3    2    1       .3 − 1 = −.7    −5
    (-5.0, -7.0, -5.0, -6.0, 3, 3),  #           0   −1    1       0 + 1/3         2
    (-7.0, -7.0, -6.0, -6.0, 2, 4),  #          −1   −1    0       −.5 + .25       0
    (-8.0, -3.0, -4.0, -3.0, 1, 5),  #          −4    0   −4       −4              −5
)

calm = settings(deadline=None)  # shared machines pause
finite = st.floats(-60, 0)
pair_rows = st.lists(
    st.tuples(finite, finite, finite, finite, st.integers(1, 30), st.integers(1, 30)),
    min_size=1,
    max_size=25,
)


def swapped(original: Outcomes) -> Outcomes:
    return Outcomes(
        original.ids,
        original.rejected_logp,
        original.chosen_logp,
        original.ref_rejected_logp,
        original.ref_chosen_logp,
        original.rejected_tokens,
        original.chosen_tokens,
        original.tie_nats,
    )


# --- accuracy ---------------------------------------------------------------------------------


def test_accuracy_is_correct_and_half_the_ties_over_all() -> None:
    assert Count(3, 1, 5).accuracy == 0.7  # (3 + 0.5) / 5
    assert Count(0, 0, 0).accuracy == 0.5


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("reward_accuracy", Count(3, 1, 5)),
        ("token_reward_accuracy", Count(2, 0, 5)),
        ("likelihood_accuracy", Count(2, 1, 5)),
    ],
)
def test_counts_by_hand(objective: str, expected: Count) -> None:
    assert BY_HAND.count(objective) == expected
    assert BY_HAND.counts()[objective] == expected


def test_margins_by_hand() -> None:
    assert BY_HAND.margins("reward_accuracy").tolist() == [3, 1, 1, 0, -4]
    per_token = [1.0, -0.7, 1 / 3, -0.25, -4.0]
    assert BY_HAND.margins("token_reward_accuracy").tolist() == pytest.approx(per_token)
    assert BY_HAND.margins("likelihood_accuracy").tolist() == [5, -5, 2, 0, -5]


def test_nineteen_pairs_are_not_the_mean_of_batch_means() -> None:
    """11 of 19 right is 0.579; the mean over batches of 4 (4, 3, 2, 0 of 4 and 2 of 3) is not."""
    right = [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0]
    scored = outcomes(*[(2.0 * r - 1.0, 0.0, 0.0, 0.0, 3, 3) for r in right])
    assert scored.count("reward_accuracy").accuracy == 11 / 19
    batches = [np.mean(right[i : i + 4]) for i in range(0, 19, 4)]
    assert np.mean(batches) != pytest.approx(11 / 19, abs=1e-3)


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="is unknown") as error:
        BY_HAND.margins("accuracy")
    assert str(error.value) == (
        "objective: 'accuracy' is unknown; use one of reward_accuracy, token_reward_accuracy, "
        "likelihood_accuracy"
    )


# --- ties -------------------------------------------------------------------------------------


@calm
@given(pair_rows)
def test_an_untouched_policy_scores_exactly_one_half(rows: Any) -> None:
    untouched = outcomes(*rows).as_reference
    for objective in ("reward_accuracy", "token_reward_accuracy"):
        assert untouched.count(objective) == Count(0, len(rows), len(rows))
        assert untouched.count(objective).accuracy == 0.5


@calm
@given(pair_rows, st.floats(-0.4 * TIE, 0.4 * TIE))
def test_float_noise_does_not_break_a_tie(rows: Any, noise: float) -> None:
    untouched = outcomes(*rows).as_reference
    noisy = replace(untouched, chosen_logp=untouched.chosen_logp + noise)
    assert noisy.count("reward_accuracy").ties == len(rows)
    assert noisy.count("token_reward_accuracy").ties == len(rows)


@pytest.mark.parametrize(
    ("margin", "sign"),
    [(2 * TIE, 1), (0.5 * TIE, 0), (0.0, 0), (-0.5 * TIE, 0), (-2 * TIE, -1)],
)
def test_a_tie_is_as_wide_as_said(margin: float, sign: int) -> None:
    scored = outcomes((margin, 0.0, 0.0, 0.0, 3, 3))
    assert scored.signs("reward_accuracy").tolist() == [sign]


def test_a_margin_of_just_the_tie_is_a_tie() -> None:
    scored = outcomes((0.5, 0.0, 0.0, 0.0, 3, 3), (-0.5, 0.0, 0.0, 0.0, 3, 3), tie_nats=0.5)
    assert scored.signs("reward_accuracy").tolist() == [0, 0]


def test_the_tie_of_a_per_token_margin_shrinks_with_the_shorter_answer() -> None:
    # 1.5e-4 nats over 4 tokens: 3.75e-5 a token, more than 1e-4 / 4 = 2.5e-5.
    scored = outcomes((1.5 * TIE, 0.0, 0.0, 0.0, 4, 8))
    assert scored.signs("token_reward_accuracy").tolist() == [1]
    wider = replace(scored, tie_nats=1e-2)
    assert wider.signs("token_reward_accuracy").tolist() == [0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_margin_that_is_no_number_is_wrong(objective: str) -> None:
    broken = outcomes((np.nan, -1.0, -1.0, -1.0, 2, 2), (0.0, -1.0, -1.0, -1.0, 2, 2))
    assert broken.count(objective) == Count(1, 0, 2)
    assert broken.signs(objective).tolist() == [-1, 1]


# --- symmetries -------------------------------------------------------------------------------


@calm
@given(pair_rows, st.sampled_from(OBJECTIVES))
def test_swapping_chosen_and_rejected_turns_a_into_one_minus_a(rows: Any, objective: str) -> None:
    there, back = outcomes(*rows).count(objective), swapped(outcomes(*rows)).count(objective)
    assert (back.correct, back.ties) == (there.total - there.correct - there.ties, there.ties)
    assert back.accuracy == pytest.approx(1 - there.accuracy)


@calm
@given(pair_rows, st.floats(1e-3, 1e3))
def test_beta_does_not_enter(rows: Any, beta: float) -> None:
    """The sign of β·margin is the sign of the margin; nothing in the module takes a β."""
    scored = outcomes(*rows)
    margins = scored.margins("reward_accuracy")
    assert np.array_equal(np.sign(beta * margins), np.sign(margins))
    clear = np.abs(margins) > TIE
    assert np.array_equal(scored.signs("reward_accuracy")[clear], np.sign(beta * margins)[clear])


@calm
@given(pair_rows, st.sampled_from(OBJECTIVES), st.randoms(use_true_random=False))
def test_counts_add_up_over_any_partition(rows: Any, objective: str, random: Any) -> None:
    scored = outcomes(*rows)
    part = np.array([random.randrange(3) for _ in rows])
    parts = [scored.count(objective, part == p) for p in range(3)]
    assert parts[0] + parts[1] + parts[2] == scored.count(objective)


@calm
@given(pair_rows, st.sampled_from(OBJECTIVES), st.randoms(use_true_random=False))
def test_the_order_of_pairs_does_not_matter(rows: Any, objective: str, random: Any) -> None:
    shuffled = random.sample(rows, len(rows))
    assert outcomes(*shuffled).count(objective) == outcomes(*rows).count(objective)


# --- length slices ----------------------------------------------------------------------------


def test_length_slices_by_hand() -> None:
    # Chosen longer: pairs 1 and 2, both right. Shorter: pairs 4 (tie) and 5 (wrong).
    slices = length_slices(BY_HAND, "reward_accuracy")
    assert slices["chosen_longer"] == {"correct": 2, "ties": 0, "total": 2, "accuracy": 1.0}
    assert slices["chosen_shorter"] == {"correct": 0, "ties": 1, "total": 2, "accuracy": 0.25}
    assert slices["length_controlled"] == 0.625  # (1 + 0.25) / 2
    assert slices["longer_wins"] == 0.5  # (2 + ½·1) / 5
    # Gaps 2, 8, 0, −2, −4 (mean 0.8) and margins 3, 1, 1, 0, −4 (mean 0.2):
    # Σ gap·margin = 6 + 8 + 0 + 0 + 16 = 30, less 5 · 0.8 · 0.2 = 0.8:       29.2
    # Σ gap² = 88 − 5 · 0.64 = 84.8;  Σ margin² = 27 − 5 · 0.04 = 26.8
    # 29.2 / √(84.8 · 26.8) = 29.2 / 47.6722 = 0.612516
    assert slices["margin_length_correlation"] == pytest.approx(0.612516, abs=1e-6)


def test_a_policy_that_likes_length_is_found_out() -> None:
    """It prefers the longer answer always: 3 of 4 look right, length-controlled it is a coin."""
    longer, shorter = (0.0, -1.0, -1.0, -1.0, 9, 3), (-1.0, 0.0, -1.0, -1.0, 3, 9)
    scored = outcomes(longer, longer, longer, shorter)
    assert scored.count("reward_accuracy").accuracy == 0.75
    slices = length_slices(scored, "reward_accuracy")
    assert slices["length_controlled"] == 0.5
    assert slices["longer_wins"] == 0.75
    assert slices["margin_length_correlation"] == pytest.approx(1.0)


def test_a_difference_of_one_token_and_of_one_nat_counts() -> None:
    scored = outcomes((0.0, 0.0, 0.0, 0.0, 3, 3), (1.0, 0.0, 0.0, 0.0, 4, 3))
    slices = length_slices(scored, "reward_accuracy")
    assert slices["chosen_longer"]["total"] == 1
    assert slices["longer_wins"] == 0.75  # (1 + ½·1) / 2
    assert slices["margin_length_correlation"] == pytest.approx(1.0)


def test_no_pairs_have_slices_too() -> None:
    slices = length_slices(outcomes(), "reward_accuracy")
    assert slices["length_controlled"] == slices["longer_wins"] == 0.5
    assert slices["margin_length_correlation"] is None


def test_no_correlation_without_spread() -> None:
    same = outcomes((0.0, -1.0, -1.0, -1.0, 3, 3), (0.0, -2.0, -1.0, -1.0, 3, 3))
    slices = length_slices(same, "reward_accuracy")
    assert slices["margin_length_correlation"] is None
    assert slices["length_controlled"] == 0.5  # both slices are empty and know nothing


def test_a_broken_margin_leaves_no_number_behind_that_json_cannot_hold() -> None:
    broken = outcomes((np.nan, -1.0, -1.0, -1.0, 2, 3), (0.0, -1.0, -1.0, -1.0, 2, 2))
    assert length_slices(broken, "reward_accuracy")["margin_length_correlation"] is None


# --- files ------------------------------------------------------------------------------------


@calm
@given(pair_rows)
def test_written_outcomes_read_back_the_same(rows: Any) -> None:
    scored = outcomes(*rows, tie_nats=0.01)
    back, metadata = read_outcomes(write_outcomes(scored, {"trial": "a1", "step": 7}))
    assert metadata == {"trial": "a1", "step": 7}
    assert (back.ids, back.tie_nats) == (scored.ids, 0.01)
    for name in ("chosen_logp", "ref_rejected_logp", "chosen_tokens", "rejected_tokens"):
        assert np.array_equal(getattr(back, name), getattr(scored, name)), name
        assert getattr(back, name).dtype == getattr(scored, name).dtype, name
    assert back.counts() == scored.counts()


@pytest.mark.parametrize("length", [0, 100, 0.5, -1])
def test_a_torn_file_raises(length: float) -> None:
    content = write_outcomes(BY_HAND, {})
    end = int(len(content) * length) if isinstance(length, float) else length
    with pytest.raises(pa.ArrowInvalid):
        read_outcomes(content[:end])


def test_a_whole_file_is_read_and_a_damaged_one_is_none() -> None:
    content = write_outcomes(BY_HAND, {"step": 7})
    read = read_outcomes_if_whole(content)
    assert read is not None
    assert read[1] == {"step": 7}
    assert read[0].counts() == BY_HAND.counts()
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ["a"]}), sink)  # a Parquet file that holds no outcomes
    for damaged in (b"", content[:100], content[:-1], sink.getvalue().to_pybytes()):
        assert read_outcomes_if_whole(damaged) is None


def test_a_changed_bit_is_noticed_or_changes_nothing() -> None:
    content, noticed = write_outcomes(BY_HAND, {"step": 7}), 0
    drawn = random.Random(0).sample(range(8 * len(content)), 400)
    for bit in drawn:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        read = read_outcomes_if_whole(bytes(damaged))
        if read is None:
            noticed += 1
        else:
            assert read[1] == {"step": 7}, bit
            for name in (*NUMBER_COLUMNS, "ids", "tie_nats"):
                assert np.array_equal(getattr(read[0], name), getattr(BY_HAND, name)), bit
    assert noticed > 100, "the rest is padding, statistics and the like"


def test_outcomes_of_earlier_versions_have_no_digest() -> None:
    table = pq.read_table(pa.BufferReader(write_outcomes(BY_HAND, {"step": 7})))
    about = {b"evaluation": table.schema.metadata[b"evaluation"]}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(about), sink)
    read = read_outcomes_if_whole(sink.getvalue().to_pybytes())
    assert read is not None
    assert read[0].counts() == BY_HAND.counts()


# --- from scores ------------------------------------------------------------------------------


def test_outcomes_of_scored_pairs() -> None:
    pairs = toy_encoded(2)
    lengths = {"chosen_tokens": np.array([4, 2]), "rejected_tokens": np.array([3, 5])}
    policy, reference = (
        {**lengths, "chosen": np.float32([-s, -2 * s]), "rejected": np.float32([-3 * s, -4 * s])}
        for s in (1, 10)
    )
    built = build_outcomes(pairs, policy, reference)
    assert built.ids == tuple(pair.id for pair in pairs)
    assert built.tie_nats == 1e-4, "what float32 noise is, whatever the dtype of the model"
    expected = {
        "chosen_logp": [-1.0, -2.0],
        "rejected_logp": [-3.0, -4.0],
        "ref_chosen_logp": [-10.0, -20.0],
        "ref_rejected_logp": [-30.0, -40.0],
        "chosen_tokens": [4, 2],
        "rejected_tokens": [3, 5],
    }
    for name, values in expected.items():
        column = getattr(built, name)
        assert column.tolist() == values, name
        assert column.dtype == (np.int64 if name.endswith("tokens") else np.float64), name


def test_a_pair_scored_twice_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^a pair was scored twice; every held-out pair counts once"
    ):
        replace(BY_HAND, ids=("a", "b", "c", "d", "a"))


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"chosen_logp: \(4,\) values for 5 pairs"):
        replace(BY_HAND, chosen_logp=BY_HAND.chosen_logp[:4])


def test_accuracy_is_broken_down_by_source_and_category() -> None:
    gains = np.array([1.0, -1.0, 1.0, 0.0])
    zeros, ones = np.zeros(4), np.ones(4, dtype=np.int64)
    scored = Outcomes(("a", "b", "c", "d"), gains, zeros, zeros, zeros, ones, ones)
    labels: dict[str, dict[str, str | None]] = {
        "source": {"a": "x", "b": "x", "c": "y", "d": "y"},
        "category": {"a": None, "b": "dose"},
        "one value": dict.fromkeys("abcd", "same"),
    }
    slices = label_slices(scored, "reward_accuracy", labels)
    assert slices["source"]["x"] == {"correct": 1, "ties": 0, "total": 2, "accuracy": 0.5}
    assert slices["source"]["y"] == {"correct": 1, "ties": 1, "total": 2, "accuracy": 0.75}
    assert set(slices["category"]) == {"dose", "none"}
    assert "one value" not in slices


def test_values_of_a_label_come_in_order() -> None:
    scored = outcomes(*[(0.0, -1.0, -1.0, -1.0, 3, 3)] * 9)
    values = dict(zip(scored.ids, "ihgfedcba", strict=True))
    assert list(label_slices(scored, "reward_accuracy", {"kind": values})["kind"]) == [*"abcdefghi"]
