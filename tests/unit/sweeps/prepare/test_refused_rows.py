"""Rows that a chat template refuses, in every split and command: an error, or left out and listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpo_core.errors import DataError
from dpo_core.preferences.golden import is_unanswered
from dpo_core.storage.store import Store
from sweeps.config.load import parse_sweep
from sweeps.prepare.golden import GoldenAnswers
from sweeps.prepare.reuse import reusable_preparation
from sweeps.run_dir import json_files
from sweeps.run_dir.paths import SPLITS, SweepPaths
from sweeps.run_dir.prepared import Prepared, read_encoded
from sweeps.sweep import run_sweep
from tests.support import chat_templates
from tests.support.in_process import command
from tests.support.sweeps_without_ray import Stopped, sweep_yaml, without_ray
from tests.support.toys import save_toy_model, toy_pairs, toy_tokenizer

WORDS = "This model takes no system text"


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model whose template refuses system texts."""
    folder = save_toy_model(tmp_path_factory.mktemp("refusing") / "model")
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = chat_templates.REFUSES_SYSTEM
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def sweep_file(tmp_path: Path, refusing: Path) -> Any:
    """A sweep of 90 rows, of which every third has a system text."""

    def write(**data: Any) -> Path:
        rows = [
            {
                "prompt": [
                    *([{"role": "system", "content": "Be brief."}] * (n % 3 == 0)),
                    *p.prompt,
                ],
                "chosen": list(p.chosen),
                "rejected": list(p.rejected),
            }
            for n, p in enumerate(toy_pairs(90))
        ]
        pairs = tmp_path / "pairs.jsonl"
        pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = {
            "path": str(pairs),
            "max_tokens": 256,
            "min_similarity": 1.0,
            "select_fraction": 0.3,
            "final_fraction": 0.3,
            **data,
        }
        file = tmp_path / "sweep.yaml"
        file.write_text(sweep_yaml(tmp_path / "runs", refusing, pairs, data=settings))
        return file

    return write


def prepared(file: Path) -> tuple[Prepared, SweepPaths]:
    config = parse_sweep(file.read_text(), source="test")
    paths = SweepPaths(Store.open(config.storage), "s")
    with without_ray(stop=True), pytest.raises(Stopped):
        run_sweep(config, paths, lambda event: None)
    return Prepared.read(paths), paths


def test_a_run_names_rows_and_the_words_of_the_template(sweep_file: Any) -> None:
    config = parse_sweep(sweep_file().read_text(), source="test")
    paths = SweepPaths(Store.open(config.storage), "s")
    with (
        without_ray(stop=True),
        pytest.raises(
            DataError, match=rf"pairs\.jsonl:\d+: .* refuses this row: '{WORDS}'"
        ) as raised,
    ):
        run_sweep(config, paths, lambda event: None)
    assert "30 bad rows in all" in str(raised.value)


def test_a_run_leaves_them_out_of_every_split_and_lists_them(sweep_file: Any) -> None:
    made, paths = prepared(sweep_file(on_bad_row="skip"))
    assert len(made.rows_refused) == 30
    assert all(WORDS in reason for reason in made.rows_refused)
    assert sum(report["pairs"] for report in made.reports.values()) == 60
    assert all(0 < made.reports[split]["pairs"] < 40 for split in SPLITS)
    audit = json_files.AUDIT.rebuildable(paths.store, paths.audit)
    assert audit is not None
    assert sorted(audit["rows_skipped"]) == sorted(made.rows_refused)
    assert reusable_preparation(paths) == Prepared.read(paths)


def test_a_preparation_that_is_repeated_is_the_same(sweep_file: Any) -> None:
    file = sweep_file(on_bad_row="skip")
    first, paths = prepared(file)
    (Path(paths.store.uri.removeprefix("file://")) / paths.encoded("train")).unlink()
    second, _ = prepared(file)
    assert (second.data_sha256, second.rows_refused) == (first.data_sha256, first.rows_refused)


def test_fold_reads_every_row(sweep_file: Any) -> None:
    made, paths = prepared(sweep_file(system="fold"))
    assert made.rows_refused == []
    texts = [toy_tokenizer().decode(pair.prompt) for pair in read_encoded(paths, "train")]
    assert any(text.startswith("[user]Be brief.\n\n") for text in texts)


@pytest.mark.parametrize("name", ["audit", "plan"])
def test_audit_and_plan_tell_them_without_a_traceback(sweep_file: Any, name: str) -> None:
    skipping = command(name, str(sweep_file(on_bad_row="skip")), "--json")
    assert skipping.returncode == 0, skipping.stderr
    assert len(json.loads(skipping.stdout)["rows_skipped"]) == 30
    failing = command(name, str(sweep_file()))
    assert "Traceback" not in failing.stdout + failing.stderr
    assert WORDS in failing.stdout + failing.stderr


@pytest.mark.parametrize("name", ["audit", "plan"])
def test_a_template_for_ever_ends_with_one_line(sweep_file: Any, refusing: Path, name: str) -> None:
    file = sweep_file(on_bad_row="skip")
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = chat_templates.A_GIGABYTE
    endless = save_toy_model(file.parent / "endless")
    tokenizer.save_pretrained(endless)
    file.write_text(file.read_text().replace(str(refusing), str(endless)))
    done = command(name, str(file))
    assert done.returncode == 2
    assert "the model's chat template needs more than 512 MiB of memory" in done.stderr
    assert "Traceback" not in done.stderr


def test_golden_prompts_that_are_refused_are_left_out(tmp_path: Path, refusing: Path) -> None:
    rows = [
        {
            "prompt": [*([{"role": "system", "content": "s"}] * (n % 3 == 0)), *p.prompt],
            "golden": p.chosen[0]["content"],  # type: ignore[index]
        }
        for n, p in enumerate(toy_pairs(30))
    ]
    (tmp_path / "golden.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": str(tmp_path / "golden.jsonl"), "kind": "golden"}
    data = {"sources": [source], "min_similarity": 1.0, "on_bad_row": "skip"}
    text = sweep_yaml(tmp_path / "runs", refusing, tmp_path, data=data)
    config = parse_sweep(text, source="test")
    from sweeps.prepare.data import read_data, split_data

    splits = split_data(config, read_data(config))
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = chat_templates.REFUSES_SYSTEM
    store = Store.open(tmp_path / "cache")
    golden = GoldenAnswers(config, store, splits, tokenizer, {"weights_sha256": "w"})
    kept, refused = golden.askable
    assert len(refused) == 10
    assert sum(is_unanswered(p) for split in SPLITS for p in getattr(kept, split)) == 20
    strict = config.model_copy(
        update={"data": config.data.model_copy(update={"on_bad_row": "fail"})}
    )
    with pytest.raises(DataError, match=WORDS):
        _ = GoldenAnswers(strict, store, splits, tokenizer, {"weights_sha256": "w"}).askable
