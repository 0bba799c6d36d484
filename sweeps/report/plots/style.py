"""Colours, labels and layout that all plots share.

The page links plots by trial: points carry the trial's name as `customdata`, lines as `meta`. Text
and grid get their colours, light or dark, from the page's script.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

# The palette of Okabe and Ito: colour-blind readers can tell these colours apart, on white and black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
MARKED = "#D55E00"
PER_CENT = ".0%"
HEIGHT = 340
_NORMALIZATIONS = ("none", "mean", "simpo", "rdpo", "ld")


def plain_label(text: object) -> str:
    """Escape a user's text (the name of a source, a reason): plotly reads labels as simple HTML."""
    return html.escape(str(text), quote=False)


def short_text(value: object) -> str:
    """Return a value as text, a float with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def normalization_of(point: Mapping[str, object]) -> str:
    """Return the length normalization of a point, by which plots group and colour trials."""
    return str(point.get("length_norm", "none"))


def group_colour(group: str, groups: Sequence[str]) -> str:
    """Return the colour of one of `groups`; a length normalization has the same in every plot."""
    order = _NORMALIZATIONS if group in _NORMALIZATIONS else tuple(groups)
    return COLOURS[order.index(group) % len(COLOURS)]


def apply_layout(figure: go.Figure, height: int = HEIGHT) -> go.Figure:
    """Give a figure the common margins, legend and transparent background; `height` in pixels."""
    return figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 16, "t": 28, "b": 48},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"align": "left"},
        xaxis_title_font_size=13,
        yaxis_title_font_size=13,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
