"""Each kind of source, alone or with others, is read; a source that cannot be read is named."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences import data_fingerprint, load_data, load_pairs, split_pairs
from dpo_core.preferences.notes.no_pair import ONE_SIDE
from dpo_core.settings import SourceSettings
from tests.support.outside_inputs import outside_input
from tests.support.preference_rows import LINE, ROWS, write_jsonl
from tests.support.toys import write_toy_pairs


def test_repeated_rows_have_their_own_ids(tmp_path: Path) -> None:
    ids = [pair.id for pair in load_pairs(str(write_jsonl(tmp_path / "a.jsonl", ROWS[:1] * 3)))]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3"]


# The whole


def test_the_fingerprint_is_of_the_pairs_and_not_of_their_order(tmp_path: Path) -> None:
    pairs = load_pairs(str(write_jsonl(tmp_path / "a.jsonl")))
    shuffled = random.Random(0).sample(pairs, len(pairs))
    ids = [pair.id for pair in pairs]
    assert data_fingerprint(pair.id for pair in shuffled) == data_fingerprint(ids)
    assert data_fingerprint(ids[:-1]) != data_fingerprint(ids)
    assert data_fingerprint([]) == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def real_data() -> Path:
    """Anthropic's harmless-base pairs: real, upsetting, and so not part of this repository."""
    return outside_input("data/hh_harmless.jsonl")


def test_real_pairs() -> None:
    pairs = load_pairs(str(real_data()))
    assert len(pairs) == len({pair.id for pair in pairs}) == 1603
    assert len({pair.group for pair in pairs}) == 1504
    splits = split_pairs(pairs, seed=7, select_fraction=0.2, final_fraction=0.2)
    groups = [{p.group for p in part} for part in (splits.train, splits.select, splits.final)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 1489
    for part, share in zip(groups, (0.6, 0.2, 0.2), strict=True):
        assert len(part) / 1489 == pytest.approx(share, abs=0.05)


# Large files


@pytest.mark.integration
@pytest.mark.parametrize("rows", [16_000, pytest.param(80_000, marks=pytest.mark.slow)])
def test_memory_stays_under_three_times_the_file(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "pairs.jsonl"
    text = "a word or two " * 60
    with path.open("w") as file:
        for number in range(rows):
            row = {"prompt": f"{number} {text}", "chosen": f"{text} {number}", "rejected": text}
            file.write(json.dumps(row) + "\n")
    size = path.stat().st_size
    assert size > 2490 * rows
    small = tmp_path / "small.jsonl"
    small.write_bytes(LINE)
    code = (
        "import re, sys\n"
        "from dpo_core.preferences import load_data\n"
        "from dpo_core.settings import SourceSettings\n"
        # The peak of this program; `ru_maxrss` would begin with that of the process it was forked from.
        "def peak():\n"
        "    status = open('/proc/self/status').read()\n"
        "    return 1024 * int(re.search(r'VmHWM:\\s+(\\d+)', status)[1])\n"
        "load_data([SourceSettings(path=sys.argv[3])])\n"
        "imports = peak()\n"
        "data = load_data([SourceSettings(path=sys.argv[1])])\n"
        "assert len(data.pairs) == int(sys.argv[2])\n"
        "print(imports, peak())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(rows), str(small)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    imports, peak = map(int, done.stdout.split())
    # The mapped file of pairs counts as far as it was written last; imports count for the large file.
    assert peak - (imports if rows < 80_000 else 0) < 3 * size


# Several sources


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def sources(tmp_path: Path) -> list[SourceSettings]:
    ranks = {"prompt": "Which?", "responses": ["a", "b", "c"], "ranks": [1, 2, 3]}
    rows = [{**ranks, "annotator": name} for name in ("ann", "bob")]
    red = [
        {"prompt": "Poison?", "response": "No.", "label": "safe", "category": "poison"},
        {"prompt": "Poison?", "response": "Sure.", "label": "harmful"},
    ]
    return [
        SourceSettings(path=str(write_toy_pairs(tmp_path / "humans.jsonl", 5))),
        SourceSettings(path=write(tmp_path / "ranks.jsonl", rows), kind="rankings", rule="all"),
        SourceSettings(name="red", path=write(tmp_path / "r.jsonl", red), kind="red_team"),
    ]


def test_each_pair_remembers_its_source(sources: list[SourceSettings]) -> None:
    loaded = load_data(sources)
    assert [pair.source for pair in loaded.pairs] == ["humans"] * 5 + ["ranks"] * 3 + ["red"]
    assert loaded.pairs[-1].category == "poison"
    assert loaded.agreement == {"ranks": pytest.approx(1.0)}
    assert len({pair.id for pair in loaded.pairs}) == 9


def test_the_same_pair_in_two_sources_keeps_two_ids(sources: list[SourceSettings]) -> None:
    again = sources[0].model_copy(update={"name": "again"})
    ids = [pair.id for pair in load_data([sources[0], again]).pairs]
    assert ids[5:] == [f"{i}-2" for i in ids[:5]]


def test_a_source_without_a_pair_is_named(tmp_path: Path) -> None:
    ties = [{"prompt": "Which?", "responses": ["a", "b"], "ranks": [1, 1]}]
    source = SourceSettings(path=write(tmp_path / "ties.jsonl", ties), kind="rankings")
    with pytest.raises(DataError, match=r"ties\.jsonl: gives no pair \(rankings\)"):
        load_data([source])


def test_bad_rows_fail_or_are_skipped_and_listed(tmp_path: Path) -> None:
    good = [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(2)]
    path = tmp_path / "pairs.jsonl"
    lines = [json.dumps(good[0]), "{not json", '{"prompt": "p"}', "3", "[]", json.dumps(good[1])]
    path.write_text("\n".join(lines) + "\n")
    source = SourceSettings(path=str(path))
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: invalid JSON"):
        load_data([source])
    loaded = load_data([source], skip_bad_rows=True)
    assert [pair.line for pair in loaded.pairs] == [1, 6]
    assert [reason.removeprefix(f"{path}:")[:2] for reason in loaded.skipped] == [
        "2:",
        "3:",
        "4:",
        "5:",
    ]


def test_when_every_row_is_bad_skipping_does_not_help(tmp_path: Path) -> None:
    source = SourceSettings(
        path=write(tmp_path / "bad.jsonl", [{**GOOD_ROWS["pairs"][0], "rejected": "a"}, {"x": 1}])
    )
    with pytest.raises(DataError, match=r"bad\.jsonl:1: .* every row of .* is bad, 2 in all$"):
        load_data([source], skip_bad_rows=True)


GOOD_ROWS: dict[str, list[dict[str, Any]]] = {
    "pairs": [{"prompt": "p", "chosen": "a", "rejected": "b"}],
    "golden": [{"prompt": "p", "golden": "a"}],
    "rankings": [{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2]}],
    "red_team": [
        {"prompt": "p", "response": "a", "label": "safe"},
        {"prompt": "p", "response": "b", "label": "harmful"},
    ],
}
BAD_VALUES: list[dict[str, Any]] = [
    {"prompt": 5},
    {"prompt": " "},
    {"prompt": [{"role": "assistant", "content": "p"}]},
    {"category": [5]},
    {"tools": 5},
    {"chosen": " ", "golden": " ", "response": " ", "responses": ["a", " "]},
]


@pytest.mark.parametrize("kind", GOOD_ROWS)
def test_every_bad_row_of_every_kind_is_told_or_left_out(tmp_path: Path, kind: Any) -> None:
    good = GOOD_ROWS[kind]
    rows = good + [good[0] | values for values in BAD_VALUES]
    source = SourceSettings(path=write(tmp_path / "rows.jsonl", rows), kind=kind)
    with pytest.raises(DataError) as error:
        load_data([source])
    first = len(good) + 1
    assert str(error.value).startswith(f"{source.path}:{first}: ")
    assert f"; {len(BAD_VALUES)} bad rows in all, the next: " in str(error.value)
    assert "\n" not in str(error.value)
    loaded = load_data([source], skip_bad_rows=True)
    assert len(loaded.pairs) == 1
    lines = [reason.removeprefix(f"{source.path}:").partition(":")[0] for reason in loaded.skipped]
    assert lines == [str(first + n) for n in range(len(BAD_VALUES))]


def test_ranks_beside_scores_of_the_same_responses_are_a_bad_row(tmp_path: Path) -> None:
    ranked = GOOD_ROWS["rankings"][0]
    scored = {name: ranked[name] for name in ("prompt", "responses")} | {"scores": [1, 2]}
    source = SourceSettings(path=write(tmp_path / "r.jsonl", [ranked, scored]), kind="rankings")
    with pytest.raises(DataError, match=r"r\.jsonl:2: ranks and scores for the same responses"):
        load_data([source])
    assert len(load_data([source], skip_bad_rows=True).pairs) == 1


def test_bad_rows_of_all_sources_are_one_error(tmp_path: Path) -> None:
    rows = GOOD_ROWS["pairs"] + [{"prompt": "p"}] * 4
    sources = [
        SourceSettings(path=write(tmp_path / f"{name}.jsonl", rows)) for name in ("one", "two")
    ]
    with pytest.raises(DataError, match=r"one\.jsonl:2: .* 8 bad rows in all.*; and 3 more;"):
        load_data(sources)


def test_what_makes_no_pair_is_told_of_each_source(tmp_path: Path) -> None:
    ties = [{"prompt": f"p{n}", "responses": ["a", "b"], "ranks": [1, 1]} for n in range(3)]
    alone = [{"prompt": f"q{n}", "response": "No.", "label": "safe"} for n in range(2)]
    sources = [
        SourceSettings(
            path=write(tmp_path / "ranks.jsonl", GOOD_ROWS["rankings"] + ties), kind="rankings"
        ),
        SourceSettings(
            path=write(tmp_path / "red.jsonl", GOOD_ROWS["red_team"] + alone), kind="red_team"
        ),
    ]
    no_pair = load_data(sources).no_pair
    assert {label: (counts.rows, str(counts)) for label, counts in no_pair.items()} == {
        "ranks": (4, "3 ties"),
        "red": (4, "2 responses to prompts without a response of the other label"),
    }
    assert no_pair["red"].places[ONE_SIDE] == [f"{sources[1].path}:{line}" for line in (3, 4)]


def test_scores_of_rows_are_seen(tmp_path: Path) -> None:
    rows = [GOOD_ROWS["pairs"][0] | {"score_chosen": n, "score_rejected": 2} for n in (1, 2, 3)]
    source = SourceSettings(path=write(tmp_path / "scored.jsonl", rows))
    counts = load_data([source]).scores["scored"].counts["score_chosen and score_rejected"]
    assert (counts.rows, counts.equal, counts.against) == (3, 1, 1)


def test_a_line_of_a_table_with_too_few_cells_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,chosen,rejected\np,a,b\nq,a\nr,a,b\n")
    source = SourceSettings(path=str(path))
    with pytest.raises(DataError, match=r"pairs\.csv:3: 2 cells under 3 columns; .* 1 bad row"):
        load_data([source])
    assert [pair.line for pair in load_data([source], skip_bad_rows=True).pairs] == [2, 4]
