"""What all plots share: colours, labels, layout."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

# Okabe and Ito's colours: told apart by colour-blind readers, on white and on black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")


_NORMS = ("none", "mean", "simpo", "rdpo", "ld")


MARKED = "#D55E00"


PER_CENT = ".0%"


HEIGHT = 340


def label(text: Any) -> str:
    """As plotly shows it: text and not markup."""
    return html.escape(str(text), quote=False)


def short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def colour(group: str, groups: Sequence[str]) -> str:
    """The same for a normalization in every plot."""
    known = _NORMS if group in _NORMS else tuple(groups)
    return COLOURS[known.index(group) % len(COLOURS)]


def laid_out(figure: go.Figure, height: int = HEIGHT) -> go.Figure:
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


NORM = "length_norm"


def norm_of(point: Mapping[str, Any]) -> str:
    return str(point.get(NORM, "none"))
