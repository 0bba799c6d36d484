"""Tests of the HTML page without a browser: what it loads and what can end its scripts.

tests/integration/test_report_page.py opens it in a browser.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re

import plotly.graph_objects as go
import pytest

from sweeps.report.blocks import Answers, Column, Facts, Plot, Row, Section, Source, Text, table
from sweeps.report.page import figure_json, render_page

HOSTILE = "</script><script>alert(1)</script>"


def page_of(*sections: Section, running: bool = False) -> str:
    """Return the page without plotly's own script, which comes first."""
    html = render_page("title", f"verdict {HOSTILE}", sections, "good", running)
    return html.replace(re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[0], "PLOTLY")


def test_a_figure_cannot_end_its_script() -> None:
    figure = go.Figure().add_scatter(x=[1], y=[2], name=HOSTILE)
    text = figure_json(figure)
    assert "<" not in text
    assert json.loads(text)["data"][0]["name"] == HOSTILE


def test_a_figure_without_a_number_is_refused_not_written_as_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        figure_json(type("Figure", (), {"to_json": lambda self: '{"data": NaN, "layout": 1}'})())


def test_only_two_scripts_are_allowed_by_their_hashes() -> None:
    html = render_page("title", "verdict", [], "good", False)
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    hashes = " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
    assert len(scripts) == 2
    assert f"default-src 'none'; script-src {hashes};" in policy.replace("&#39;", "'")


def test_every_kind_of_block_is_shown_and_escaped() -> None:
    rows = [Row((HOSTILE, None), trial="t0001", marked=True)]
    blocks = (
        Text(f"text {HOSTILE}", "warning"),
        Facts(((f"fact {HOSTILE}", "value"),)),
        table("caption", [Column("a", wide=True), Column("b", numeric=True)], rows),
        Plot("curves", f"plot {HOSTILE}", go.Figure(layout={"height": 123}), ("as text",)),
        Answers(f"prompt {HOSTILE}", ((f"author {HOSTILE}", "answer"),)),
        Source("config.yaml", f"source {HOSTILE}"),
    )
    html = page_of(Section("name", "Title", blocks))
    assert "<script>alert" not in html
    escaped = "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;"
    for kind in ("verdict", "text", "fact", "plot", "prompt", "author", "source"):
        assert f"{kind} {escaped}" in html, kind
    assert '<tr class="marked" data-trial="t0001" tabindex="0">' in html
    assert f'<td class="wide">{escaped}</td><td class="number">–</td>' in html
    assert 'id="plot-curves"' in html
    assert "height:123px" in html
    assert "<pre>as text</pre>" in html


def test_a_page_says_whether_the_sweep_has_ended() -> None:
    assert "not ended" in page_of(running=True)
    assert "not ended" not in page_of(running=False)
