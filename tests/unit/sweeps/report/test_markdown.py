"""Tests of the Markdown: every kind of block, and that texts of users are shown as they are."""

from __future__ import annotations

import html
import json
from pathlib import Path

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sweeps.report.blocks import (
    Answers,
    Column,
    Facts,
    Grid,
    Plot,
    Row,
    Section,
    Source,
    Text,
    table,
)
from sweeps.report.markdown import escape, render_markdown
from sweeps.report.report_data import read_report_data
from sweeps.report.sections.all_sections import build_sections
from tests.support.toy_sweeps import ScriptedSweep
from tests.support.toys import toy_pairs


def rendered(text: str) -> str:
    """Return the HTML that a renderer makes of Markdown."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


@given(st.text(max_size=60))
def test_markdown_shows_any_text_as_itself(text: str) -> None:
    html_text = rendered(f"- a: {escape(text)}")
    inside = html_text.removeprefix("<ul>\n<li>").removesuffix("</li>\n</ul>\n")
    assert "<" not in inside.replace("<br>", "")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[a](javascript:alert(1))",
        "![a](http://x/y.png)",
        "`x` **y** _z_ ~~w~~ $a$",
        "# head",
        "1. one",
        "- item",
        "a | b",
        "&lt;b&gt;",
        "https://example.org/?a=b",
    ],
)
def test_markup_in_a_text_is_escaped(text: str) -> None:
    out = rendered(escape(text))
    assert out.count("<") == 2, "a paragraph and nothing in it"
    assert html.unescape(out.removeprefix("<p>").removesuffix("</p>\n")) == text


def test_control_characters_are_replaced() -> None:
    assert escape("a\x1b[2J\x00b\x9b31m\r\nc\td") == "a�\\[2J�b�31m<br>c\td"


def test_a_report_of_hostile_texts_has_one_link_and_no_other_markup(tmp_path: Path) -> None:
    model = json.dumps("[x](http://evil) <img src=x> ``` |")
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60), [f"model.path={model}"])
    sweep.end(0)
    sweep.end(1, "failed", reason="| a |\n|---|\n# b", detail="<script>1</script>", steps=())
    data = read_report_data(sweep.paths)
    out = rendered(render_markdown(data.sweep_id, "ok", build_sections(data)))
    assert out.count("<a ") == 1
    assert "<script" not in out
    assert "<img" not in out
    assert out.count("<h1>") == 1


def test_every_kind_of_block_is_rendered() -> None:
    figure = go.Figure()
    blocks = (
        Text("plain *text*"),
        Text("careful", "warning"),
        Facts((("a", "1"), ("b", "2"))),
        table(
            "caption",
            [Column("name"), Column("n", numeric=True)],
            [Row(("x", "1"), marked=True), Row(("y", None))],
        ),
        Grid((Plot("one", "first", figure, ("▁▂",)), Plot("two", "without text", figure))),
        Plot("three", "third", figure, ("█",)),
        Answers("May I?", (("reference", "yes"), ("winner", "no"))),
        Source("config.yaml", "a: 1\n"),
    )
    text = render_markdown(
        "sweep", "verdict", [Section("s", "Title", blocks), Section("e", "E", ())]
    )
    assert (
        text
        == """# sweep

**verdict**

The same report with interactive plots: [index.html](index.html).

## Title

plain \\*text\\*

> careful

- a: 1
- b: 2

*caption*

| name | n |
|---|---:|
| **x** | 1 |
| y | – |

*first*

```text
▁▂
```

*third*

```text
█
```

**May I?**

- *reference*: yes
- *winner*: no

config.yaml:

```text
a: 1
```
"""
    )


def test_a_file_cannot_end_its_code_block() -> None:
    source = Source("notes", "```\n# head\n````")
    text = render_markdown("s", "v", [Section("s", "t", (source,))])
    assert text.endswith("`````text\n```\n# head\n````\n`````\n")
    assert rendered(text).count("<h1>") == 1
