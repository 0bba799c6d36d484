"""Tests of what all plots share."""

from __future__ import annotations

import plotly.graph_objects as go

from sweeps.report.plots.style import (
    COLOURS,
    apply_layout,
    group_colour,
    normalization_of,
    plain_label,
    short_text,
)


def test_a_label_is_text_and_not_markup() -> None:
    assert plain_label('<b>"a"</b> & b') == '&lt;b&gt;"a"&lt;/b&gt; &amp; b'


def test_a_normalization_has_one_colour_in_every_plot() -> None:
    assert group_colour("simpo", ["simpo"]) == group_colour("simpo", ["mean", "simpo"])
    assert group_colour("simpo", ["simpo"]) == COLOURS[2]


def test_other_groups_have_the_colours_in_their_order_and_again() -> None:
    groups = [f"group {number}" for number in range(len(COLOURS) + 1)]
    assert [group_colour(group, groups) for group in groups] == [*COLOURS, COLOURS[0]]


def test_floats_are_short() -> None:
    assert [short_text(value) for value in (0.123456, 1e-05, 12345, "mean")] == [
        "0.123", "1e-05", "12345", "mean",
    ]  # fmt: skip


def test_a_point_without_a_normalization_has_none() -> None:
    assert normalization_of({"length_norm": "mean"}) == "mean"
    assert normalization_of({"beta": 0.1}) == "none"


def test_a_figure_takes_the_colours_of_the_page() -> None:
    layout = apply_layout(go.Figure(), height=99).layout
    assert layout.height == 99
    assert {layout.paper_bgcolor, layout.plot_bgcolor} == {"rgba(0,0,0,0)"}
