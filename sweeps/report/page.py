"""Renders a report as one HTML file that loads nothing from the network.

The template escapes every text. In addition a content security policy allows only two scripts,
plotly and `page.js`, by their hashes, so that a script in a text could not run either.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from sweeps.report.blocks import Section

if TYPE_CHECKING:
    import plotly.graph_objects as go


def render_page(
    title: str, verdict: str, sections: Sequence[Section], tone: str, running: bool
) -> str:
    """Render the whole page, about 5 MB, of which plotly's script takes nearly all.

    Args:
        title: Heading of the page.
        verdict: Sentence that stands below the heading.
        sections: Sections in the order in which they are read.
        tone: Class of the verdict, which gives its colour: good, bad or open.
        running: Whether the page says that the sweep has not ended.

    Returns:
        The HTML.
    """
    plotly, page = get_plotlyjs(), _asset("page.js")
    environment = Environment(
        loader=DictLoader({"page.html": _asset("page.html")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure_json
    return environment.get_template("page.html").render(
        title=title,
        verdict=verdict,
        sections=sections,
        tone=tone,
        running=running,
        style=Markup(_asset("page.css")),
        scripts=[Markup(plotly), Markup(page)],
        script_hashes=" ".join(f"'{_hash(script)}'" for script in (plotly, page)),
    )


def figure_json(figure: go.Figure) -> Markup:
    """Return a figure as JSON that can stand in a script element, because nothing in it ends one."""
    content = json.loads(figure.to_json())
    text = json.dumps({"data": content["data"], "layout": content["layout"]}, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _asset(name: str) -> str:
    return (files("sweeps.report") / name).read_text(encoding="utf-8")
