"""The model card: its front matter, numbers and hyperparameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dpo_core.storage.store import Store
from sweeps.finalize.model_card import model_card, write_card
from sweeps.run_dir.paths import SweepPaths
from tests.support.selections import a_selection


def test_the_card_says_how_well_and_how_sure() -> None:
    card = model_card(a_selection())
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "models/tiny",
        "library_name": "transformers",
        "tags": ["dpo", "preference-tuning"],
    }
    assert "# hh-1: trial t0001, step 8" in body
    assert "and chosen from 3 trials by reward_accuracy on held-out pairs" in body
    tuned = "0.700 (0.246 to 0.968; 3 correct, 1 ties of 5)"
    untouched = "0.500 (0 correct, 5 ties of 5)"  # a constant
    for split in ("select", "final"):
        assert f"| {split} | {tuned} | {untouched} |" in body
    assert "| train |" not in body
    assert "| learning_rate | 2.5e-06 |" in body
    assert "| length_norm | mean |" in body


@pytest.mark.parametrize("base", ['org/model: a "b" #1', "models/ü", "- x", "null"])
def test_the_cards_front_matter_survives_any_path(base: str) -> None:
    card = model_card(a_selection(base_model=base))
    assert yaml.safe_load(card.split("---\n", 2)[1])["base_model"] == base


def test_the_card_names_no_folder_of_the_machine() -> None:
    card = model_card(a_selection(base_model="/home/ann/models/tiny"))
    assert "/home/ann" not in card
    assert "Tuned from `tiny`" in card


def test_the_card_is_written_into_best(tmp_path: Path) -> None:
    paths = SweepPaths(Store.open(tmp_path), "hh-1")
    write_card(paths, a_selection())
    assert (tmp_path / "hh-1" / "best" / "README.md").read_text("utf-8") == (
        model_card(a_selection())
    )


def test_a_selection_without_a_winner_has_no_card() -> None:
    with pytest.raises(ValueError, match="has no model card"):
        model_card(a_selection(winner=None))


def test_before_final_was_opened_the_card_has_the_select_split_alone() -> None:
    selection = a_selection()
    del selection["final"]
    card = model_card(selection)
    assert "| select |" in card
    assert "| final |" not in card


def test_the_card_says_how_the_weights_are_stored() -> None:
    margins = {"dtype": "bfloat16", "chosen": 2.18, "stored": 2.17, "lost": 0.0123}
    manifest = {"trial": "t0001", "step": 8, "asked_dtype": "auto", "margins": margins}
    card = model_card(a_selection(), manifest)
    assert "stored in bfloat16. Read back, they have lost 1.2 % of the margins on select" in card
    alone = model_card(a_selection(), {**manifest, "asked_dtype": None})
    assert "`adapter/` holds the LoRA adapter, which PEFT loads over `models/tiny`" in alone
    assert yaml.safe_load(alone.split("---\n", 2)[1])["library_name"] == "peft"


def test_the_card_says_which_opening_of_final_its_number_is_from() -> None:
    selection = a_selection()
    assert "opened for it afterwards, for the first time." in model_card(selection)
    again = {"when": "2026-01-02", "why": "w", "forced": False, "number": 2, "declared": 1}
    card = model_card({**selection, "final_opened": [again]})
    assert "this was opening 2, of 1 that were declared for its prompts." in card
