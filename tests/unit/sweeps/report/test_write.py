"""The report's content and its Markdown: what it says, from what it reads, and that it is escaped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sweeps.cli import app as cli
from sweeps.report import formatting
from sweeps.report.blocks import Plot, Table
from sweeps.report.markdown import escape, render_markdown
from sweeps.report.plots import text_plots
from sweeps.report.report_data import ReportData, read_report_data
from sweeps.report.sections.all_sections import build_sections
from sweeps.report.sections.importance import FEWEST_TRIALS, importance
from sweeps.report.sections.verdict import verdict_sentence
from sweeps.report.write import try_write_report, write_report
from sweeps.run_dir.paths import SweepPaths
from tests.support.toy_sweeps import ScriptedSweep
from tests.support.toys import toy_pairs


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> ScriptedSweep:
    """Ended: eleven trials of which one failed early."""
    made = ScriptedSweep(tmp_path_factory.mktemp("runs") / "scripted-1", toy_pairs(200))
    for number in range(10):
        made.end(number)
    made.end(10, "failed", reason="nan", detail="loss is nan at step 3", steps=())
    made.select()
    return made


def tables(data: ReportData) -> dict[str, Table]:
    blocks = (block for section in build_sections(data) for block in section.blocks)
    return {block.caption: block for block in blocks if isinstance(block, Table)}


def test_the_verdict_of_the_choice_is_said_first(sweep: ScriptedSweep) -> None:
    write_report(sweep.paths)
    selection = json.loads(sweep.paths.store.read("selection.json"))
    markdown = sweep.paths.store.read(sweep.paths.report_markdown).decode()
    said = markdown.splitlines()[2]
    assert said == f"**{escape(selection['verdict']['sentence'])}**"
    assert selection["winner"]["trial"] in said


def test_the_leaderboard_is_the_ledgers(sweep: ScriptedSweep) -> None:
    data = read_report_data(sweep.paths)
    board = next(t for caption, t in tables(data).items() if caption.startswith("11 trials"))
    names = [column.name for column in board.columns]
    selection = json.loads(sweep.paths.store.read("selection.json"))
    winner, by_accuracy = selection["winner"]["trial"], [r["trial"] for r in selection["trials"]]
    assert by_accuracy[0] != winner, "the winner drifted less than the most accurate trial"
    assert [row.trial for row in board.rows] == sorted(by_accuracy, key=lambda t: t != winner)
    assert [row.trial for row in board.rows if row.marked] == [winner]
    last = dict(zip(names, board.rows[-1].cells, strict=True))
    assert last["trial"] == "t0010"
    assert last["status"] == "failed: nan (loss is nan at step 3)"
    assert last["accuracy"] == formatting.MISSING
    first, second = (dict(zip(names, row.cells, strict=True)) for row in board.rows[:2])
    assert first["selection"] == f"winner, step {selection['winner']['step']}"
    assert second["accuracy"] == f"{100 * selection['trials'][0]['accuracy']:.1f} %"


def test_the_same_folder_gives_the_same_report(sweep: ScriptedSweep) -> None:
    write_report(sweep.paths)
    before = [sweep.paths.store.read(f"report/{n}") for n in ("index.html", "report.md")]
    write_report(sweep.paths)
    assert [sweep.paths.store.read(f"report/{n}") for n in ("index.html", "report.md")] == before


def test_storage_alone_is_enough_and_may_be_a_uri(sweep: ScriptedSweep) -> None:
    """A copy of the folder on another file system; no model, no data file, no Ray."""
    import fsspec

    from dpo_core.storage.store import Store

    source = Path(sweep.paths.store.root)
    memory = fsspec.filesystem("memory")
    for path in source.rglob("*"):
        if path.is_file():
            name = f"/elsewhere/{source.name}/{path.relative_to(source)}"
            memory.makedirs(str(Path(name).parent), exist_ok=True)
            memory.pipe_file(name, path.read_bytes())
    paths = SweepPaths.of_folder(f"memory://elsewhere/{source.name}")
    assert isinstance(paths.store, Store)
    where = write_report(paths)
    assert where == f"memory://elsewhere/{source.name}/report/index.html"
    markdown = paths.store.read(paths.report_markdown).decode()
    write_report(sweep.paths)
    own = sweep.paths.store.read(sweep.paths.report_markdown).decode()
    assert markdown.splitlines()[:12] == own.splitlines()[:12]


def test_a_selection_older_than_verdicts_still_has_a_sentence(tmp_path: Path) -> None:
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60))
    sweep.end(0)
    winner = sweep.select(verdict=None, candidates=[], guardrails={})["winner"]
    said = verdict_sentence(read_report_data(sweep.paths))
    assert said == f"{winner['trial']} at step {winner['step']} was selected."
    write_report(sweep.paths)


def test_the_pairs_that_are_shown_are_the_worst_of_select(sweep: ScriptedSweep) -> None:
    """Nobody may get used to the final split."""
    data = read_report_data(sweep.paths)
    margins = data.outcomes["select"].margins(sweep.objective)
    assert [margin for _, margin in data.worst_pairs] == pytest.approx(sorted(margins)[:3])
    rows = [json.loads(line) for line in sweep.paths.store.read("splits/select.jsonl").splitlines()]
    ids = data.outcomes["select"].ids
    for row, margin in data.worst_pairs:
        assert row in rows
        assert margins[ids.index(row["id"])] == margin


def test_where_every_trial_failed_it_says_so(tmp_path: Path) -> None:
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60))
    sweep.end(0, "failed", reason="nan", detail="at step 1", steps=())
    sweep.select()
    write_report(sweep.paths)
    markdown = sweep.paths.store.read(sweep.paths.report_markdown).decode()
    assert markdown.splitlines()[2] == "**no trial was ever evaluated**"
    assert "failed: nan" in markdown


def test_where_guardrails_exclude_everything_nobody_is_called_the_winner(tmp_path: Path) -> None:
    strict = "selection.guardrails={drift_chosen: {limit: 0.0}}"
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60), [strict])
    for number in range(3):
        sweep.end(number)
    assert sweep.select()["winner"] is None
    write_report(sweep.paths)
    markdown = sweep.paths.store.read(sweep.paths.report_markdown).decode()
    assert "none of 12 candidates is admissible" in markdown.splitlines()[2]
    assert "- most accurate, not selected: t000" in markdown
    assert "| drift\\_chosen | 0 | exclude |" in markdown
    assert "| 12 of 12 |" in markdown
    assert "winner:" not in markdown


def test_every_plot_but_three_is_there_as_text(sweep: ScriptedSweep) -> None:
    plots = [
        plot
        for section in build_sections(read_report_data(sweep.paths))
        for block in section.blocks
        for plot in getattr(block, "plots", (block,))
        if isinstance(plot, Plot)
    ]
    assert {plot.name for plot in plots if not plot.text} == {"parallel", "sides"}
    assert {"compared", "curves", "pareto", "margins", "axis-beta"} < {p.name for p in plots}


def test_of_very_many_trials_the_best_are_drawn(
    sweep: ScriptedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.report.sections.search._MOST_LINES", 3)
    data = read_report_data(sweep.paths)
    assert data.highlighted is not None
    sections = {section.name: section for section in build_sections(data)}
    for name in ("curves", "parallel"):
        [plot] = sections[name].blocks
        assert "(the best 3 of 10)" in plot.caption
        assert len([trace for trace in plot.figure.data if trace.meta]) == 3
    [curves] = sections["curves"].blocks
    assert data.highlighted[0] in {trace.meta for trace in curves.figure.data}


def test_importance_names_what_was_scripted(tmp_path: Path) -> None:
    """Only the learning rate moves the outcome here."""
    keys = ["search.trials=60", 'space={"beta": 0.1, "learning_rate": {"log_uniform": [1e-6, 1e-4]},'
            ' "length_norm": {"choice": ["none", "mean"]}}']  # fmt: skip
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(300), keys)
    records = [sweep.end(number) for number in range(60)]
    found = importance(sweep.config.search_space, records, sweep.objective)
    assert found is not None
    assert list(found) == ["learning_rate", "length_norm"], "beta never varied"
    assert found["learning_rate"] > 0.7
    assert (
        importance(sweep.config.search_space, records[: FEWEST_TRIALS - 1], "reward_accuracy")
        is None
    )


def rendered(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


@given(st.text(max_size=60))
def test_markdown_shows_any_text_as_itself(text: str) -> None:
    shown_ = rendered(f"- a: {escape(text)}")
    inside = shown_.removeprefix("<ul>\n<li>").removesuffix("</li>\n</ul>\n")
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
def test_markdown_is_not_written_by_users(text: str) -> None:
    import html

    out = rendered(escape(text))
    assert out.count("<") == 2, "a paragraph and nothing in it"
    assert html.unescape(out.removeprefix("<p>").removesuffix("</p>\n")) == text


def test_a_terminal_that_shows_the_markdown_obeys_nobody() -> None:
    assert escape("a\x1b[2J\x00b\x9b31m\r\nc\td") == "a�\\[2J�b�31m<br>c\td"


def test_a_hostile_report_has_one_link_and_no_markup(tmp_path: Path) -> None:
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


def test_secrets_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a password in a URI nor the value of a secret variable, wherever they got in."""
    monkeypatch.setenv("SOME_TOKEN", "planted-in-the-environment")
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60))
    uri = "s3://KEY:planted-in-a-uri@bucket/model?secret=planted-in-a-query"
    detail = f"401 for planted-in-the-environment at {uri}"
    sweep.end(0, "failed", reason="exception", detail=detail, steps=())
    write_report(sweep.paths)
    for name in (sweep.paths.report_page, sweep.paths.report_markdown):
        text = sweep.paths.store.read(name).decode()
        assert "planted" not in text
        assert "bucket/model" in text
        assert "401 for" in text


def test_characters_as_plots() -> None:
    assert text_plots.draw_sparkline([0.5, 0.75, 1.0], 0.5, 1.0) == "▁▅█"
    assert text_plots.draw_sparkline([0.5, 0.5], 0.5, 0.5) == "▁▁"
    lines = text_plots.draw_intervals(["a", "bb"], [0.5, 1.0], [(0.0, 1.0), (0.75, 1.0)])
    assert [len(line) for line in lines] == [44, 44, 44]
    assert lines[0].startswith("a   ──")
    assert lines[1].endswith("──●")
    plot = text_plots.draw_scatter([1.0, 10.0, 100.0], [0.0, 1.0, 0.5], "abc", log_x=True)
    assert [next(i for i, line in enumerate(plot) if c in line) for c in "abc"] == [9, 0, 5]
    assert plot[0].index("b") - plot[9].index("a") == pytest.approx(28, abs=1)
    assert text_plots.draw_bars(["x"], [0.0], ["0"])[0].startswith("x  ")


def test_a_report_that_cannot_be_written_does_not_fail_the_sweep(
    tmp_path: Path, messages: list[str]
) -> None:
    sweep = ScriptedSweep(tmp_path / "a", toy_pairs(60))
    (tmp_path / "a" / "report").write_text("a file where the folder should be")
    try_write_report(sweep.paths)
    assert len(messages) == 1
    assert "the report could not be written" in messages[0]
    assert f"dpo-sweeps report {tmp_path / 'a'}" in messages[0]


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["dpo-sweeps", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    sweep = ScriptedSweep(folder, toy_pairs(60))
    sweep.end(0)
    assert run("report", str(folder), monkeypatch=monkeypatch) == 0
    assert capfd.readouterr().out == f"{folder}/report/index.html\n"
    assert (folder / "report" / "report.md").is_file()
    assert run("report", str(tmp_path), monkeypatch=monkeypatch) == 2
    assert "holds no config.yaml" in capfd.readouterr().err
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b"finished", b"finnished"))
    before = (folder / "report" / "index.html").read_bytes()
    assert run("report", str(folder), monkeypatch=monkeypatch) == 2
    assert "damaged" in capfd.readouterr().err
    assert (folder / "report" / "index.html").read_bytes() == before
