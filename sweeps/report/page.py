"""A report as one HTML file that asks no network for anything.

The template escapes every text. A content security policy lets only the scripts run that are named
by their hash here, so that even text that slipped through could not: plotly and `page.js`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from sweeps.report.blocks import Section


def render_page(
    title: str, verdict: str, sections: Sequence[Section], tone: str, running: bool
) -> str:
    """The whole page, about 5 MB, of which nearly all is plotly."""
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


def figure_json(figure: Any) -> Markup:
    """A plotly figure for a JSON script element: no character of it can end the element."""
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
