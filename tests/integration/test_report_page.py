"""Tests of the report in a browser: complete, readable, offline, and safe with hostile texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpo_core.hardware import describe_hardware
from dpo_core.storage.json_content import decode_json
from sweeps.nightly.trend import night_row, trend
from sweeps.report.write import write_report
from tests.support.browser import chromium, open_report, requested, set_width, wait_for
from tests.support.toy_sweeps import ScriptedSweep
from tests.support.toys import text_pair, toy_pairs

HOSTILE = '<script>window.pwned = 1</script><img src=x onerror="window.pwned = 1">'
CLOSING = "</script><script>window.pwned = 2</script>"
GUARDED = "selection.guardrails={drift_chosen: {limit: 0.2}}"
PLOTS = {
    "compared", "slices", "margins", "pareto", "sides", "axis-beta", "axis-learning_rate",
    "axis-gamma_ratio", "parallel", "curves", "importance", "nights", "nights-trials",
    "nights-cost", "lengths",
}  # fmt: skip


def hostile_pairs() -> list[Any]:
    from dataclasses import replace

    pairs = toy_pairs(160)
    attacks = [
        text_pair(f"{HOSTILE} {n}", f"{CLOSING} {n}", f"{{{{ 7 * 7 }}}} {HOSTILE} {n}")
        for n in range(60)
    ]
    named = [replace(p, source="<b>humans</b>", category=CLOSING) for p in pairs]
    return [*named, *(replace(p, source=HOSTILE, category="attack") for p in attacks)]


def additions_to(selection: dict[str, Any]) -> dict[str, Any]:
    """Return what confirmation and an incumbent add to selection.json, with hostile texts."""
    winner = selection["winner"]
    return {
        "verdict": {**selection["verdict"], "sentence": f"Better than the reference. {HOSTILE}"},
        "confirmation": [
            {
                "trial": winner["trial"],
                "point": winner["point"],
                "seeds": [1, 2, 3],
                "accuracies": [0.66, 0.68, 0.67],
                "mean": 0.67,
                "spread": 0.01,
                "search_score": 0.7,
                "shrinkage": 0.03,
            }
        ],
        "incumbent": {
            "name": HOSTILE,
            "path": "/models/last-night",
            "select": selection["reference"]["select"],
            "final": selection["reference"]["final"],
        },
        "final_opened": [{"when": "2026-01-02T03:04:05+00:00", "why": HOSTILE, "forced": False}],
    }


def nights(selection: dict[str, Any]) -> list[dict[str, Any]]:
    """Return three nights as trend.json has them, the second without a winner."""
    about = {
        "workers": 1,
        "gpus_per_worker": 0,
        "promoted": False,
        "control": "t0001",
        "warm_started": 5,
        "data_sha256": "d",
        "code": {"commit": "c"},
    }
    lost = {**selection, "winner": None, "final": None, "select": None, "reference": None}
    rows = [
        night_row({**about, "night": "2026-01-01"}, selection),
        night_row({**about, "night": "2026-01-02", "data_sha256": "e"}, lost),
        night_row({**about, "night": f"2026-01-03 {HOSTILE}", "promoted": True}, selection),
    ]
    return trend(rows)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of an ended sweep in which every text is hostile."""
    folder = tmp_path_factory.mktemp("runs") / "hostile"
    model = f"model.path={json.dumps(HOSTILE)}"
    sweep = ScriptedSweep(folder, hostile_pairs(), [model, "search.trials=14", GUARDED])
    for number in range(12):
        sweep.end(number)
    sweep.end(12, "failed", reason=HOSTILE, detail=CLOSING, steps=(10,))
    sweep.end(13, "failed", reason="nan", detail="| a | b |\n# c", steps=())
    sweep.answer = f"{{{{{{{{ 7 * 7 }}}}}}}}\n{HOSTILE}{CLOSING}"
    selection = sweep.select(**additions_to(sweep.select()))
    store, paths = sweep.paths.store, sweep.paths
    store.write(paths.trend, json.dumps(nights(selection)).encode())
    prepared = decode_json(store.read(paths.prepared))
    prepared["findings"][0]["message"] = HOSTILE
    parts = ("prompt", "chosen", "rejected")
    audit = {
        "findings": prepared["findings"],
        "annotator_agreement": {HOSTILE: 0.71},
        "histogram": {
            part: {"counts": [3, 9, 1], "edges": [1.0, 5.0, 9.0, 13.0]} for part in parts
        },
    }
    store.write(paths.audit, json.dumps(audit).encode())
    store.write(paths.node(HOSTILE), json.dumps({**describe_hardware(), "host": HOSTILE}).encode())
    write_report(paths)
    return folder / "report" / "index.html"


@pytest.fixture(scope="module")
def page(ended: Path) -> Iterator[Any]:
    with chromium(1400) as driver:
        open_report(driver, ended)
        yield driver


def test_every_plot_is_drawn(page: Any) -> None:
    drawn = page.execute_script(
        "return [...document.querySelectorAll('.js-plotly-plot')]"
        ".filter(p => p.querySelector('.main-svg') && p.getBoundingClientRect().height > 100)"
        ".map(p => p.id.replace('plot-', ''))"
    )
    assert set(drawn) == PLOTS
    points = page.execute_script(
        "return [...document.querySelectorAll('.js-plotly-plot')]"
        ".map(p => p.querySelectorAll('.point, .js-line').length)"
    )
    assert min(points) > 0, "a plot without anything in it"


def test_it_loads_nothing_from_a_network_and_logs_no_error(page: Any, ended: Path) -> None:
    open_report(page, ended)
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert {url.split(":")[0] for url in requested(page)} <= {"file", "data"}
    assert page.get_log("browser") == []


@pytest.mark.parametrize("width", [400, 1400])
def test_it_fits_its_width(page: Any, width: int) -> None:
    set_width(page, width)
    drawn = "document.querySelector('#plot-curves .main-svg').width.baseVal.value"
    wait_for(page, f"return {drawn} < {width} && {drawn} > {0.6 * width}")
    wide = page.execute_script(
        "return [document.documentElement, document.body, ...document.querySelectorAll("
        "'section, .plot, .scroll, .answers, pre, nav')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    root = "document.documentElement"
    assert page.execute_script(f"return {root}.scrollWidth === {root}.clientWidth")
    smallest = page.execute_script(
        "return Math.min(...[...document.querySelectorAll('main p, main td, main dd')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 13
    cut = page.execute_script(
        "return [...document.querySelectorAll('.plotly')].filter(p => p.querySelector('.main-svg')"
        ".getBoundingClientRect().right > innerWidth).length"
    )
    assert cut == 0


def test_hostile_text_is_text(page: Any, ended: Path) -> None:
    assert page.execute_script("return window.pwned === undefined")
    assert page.execute_script("return document.querySelectorAll('main img, main b').length") == 0
    assert page.execute_script("return document.scripts.length") == 2 + len(PLOTS)
    shown = page.execute_script("return document.body.innerText")
    for section in ("#verdict", "#answers", "#leaderboard", "#data", "#nights", "#provenance"):
        text = page.execute_script(f"return document.querySelector('{section}').textContent")
        assert "<script>window.pwned = 1</script>" in text, section
    assert CLOSING in shown
    ticks = page.execute_script(
        "return [...document.querySelectorAll('#plot-slices .ytick text')].map(e => e.textContent)"
    )
    assert "source: <b>humans</b>" in ticks
    assert any(CLOSING in tick for tick in ticks)
    assert "{{ 7 * 7 }}" in page.execute_script("return document.body.textContent")


def test_a_script_that_is_not_the_pages_own_does_not_run(
    page: Any, ended: Path, tmp_path: Path
) -> None:
    """The content security policy allows two scripts, by their hashes."""
    broken = tmp_path / "index.html"
    text = ended.read_text(encoding="utf-8")
    broken.write_text(text.replace("<main>", "<main><script>window.pwned = 3</script>", 1))
    open_report(page, broken)
    assert page.execute_script("return window.pwned === undefined")
    assert "Content Security Policy" in str(page.get_log("browser"))


def test_a_click_on_a_trial_selects_it_in_every_plot(page: Any, ended: Path) -> None:
    open_report(page, ended)
    faded = "return document.getElementById('plot-curves').data.filter(t => t.opacity < 0.1).length"
    chosen = (
        "return document.getElementById('plot-pareto').data"
        ".flatMap(t => (t.selectedpoints ?? []).map(i => t.customdata[i]))"
    )
    assert page.execute_script(faded) == 0
    page.execute_script("document.querySelector('tr[data-trial=t0003]').click()")
    wait_for(page, f"return (() => {{ {faded} }})() > 0")
    assert page.execute_script(faded) == 12, "one of thirteen curves stays"
    assert set(page.execute_script(chosen)) == {"t0003"}
    page.execute_script("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
    wait_for(page, f"return (() => {{ {faded} }})() === 0")
    assert page.get_log("browser") == []


def test_it_follows_the_readers_colours(page: Any, ended: Path) -> None:
    open_report(page, ended)

    inks = (
        "[getComputedStyle(document.body).color,"
        " document.getElementById('plot-curves').layout.font.color]"
    )
    light = page.execute_script(f"return {inks}")
    media = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    try:
        wait_for(page, f"return {inks}.every((ink, at) => ink !== {json.dumps(light)}[at])")
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_mid_run_it_says_so_and_shows_open_trials(page: Any, tmp_path: Path) -> None:
    sweep = ScriptedSweep(tmp_path / "runs" / "going", toy_pairs(120))
    sweep.end(0)
    sweep.evaluate(1, sweep.draw(1), (10, 20))
    sweep.draw(2)
    write_report(sweep.paths)
    open_report(page, tmp_path / "runs" / "going" / "report" / "index.html")
    verdict = page.execute_script("return document.querySelector('.verdict').textContent")
    assert verdict.startswith("Not ended yet: 1 of 12 trials have ended, 2 are open. Best so far: ")
    rows = page.execute_script(
        "return [...document.querySelectorAll('#leaderboard tr[data-trial]')]"
        ".map(r => [r.dataset.trial, r.lastElementChild.textContent])"
    )
    assert sorted(rows) == [["t0000", "finished"], ["t0001", "open"], ["t0002", "open"]]
    curves = page.execute_script(
        "return document.getElementById('plot-curves').data.map(t => [t.meta, t.x])"
    )
    assert sorted(curves) == [["t0000", [10, 20, 30, 40]], ["t0001", [10, 20]]]
    assert page.get_log("browser") == []


def test_before_anything_ran_there_is_a_page(page: Any, tmp_path: Path) -> None:
    sweep = ScriptedSweep(tmp_path / "runs" / "fresh", toy_pairs(60))
    write_report(sweep.paths)
    open_report(page, tmp_path / "runs" / "fresh" / "report" / "index.html")
    verdict = page.execute_script("return document.querySelector('.verdict').textContent")
    assert verdict == "Not ended yet: 0 of 12 trials have ended; nothing has been evaluated."
    assert page.get_log("browser") == []


def test_no_text_of_the_file_can_end_its_scripts(ended: Path) -> None:
    text = ended.read_text(encoding="utf-8")
    bodies = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    assert len(bodies) == 2 + len(PLOTS)
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text.replace(bodies[-2], ""))
    assert all("pwned = 1</script>" not in body for body in bodies)
