"""The pairs that a model was trained on, by which a sweep sees whether its final split was among them.

An exported model has them in a file of its own. One that an earlier version exported is asked for the
train split of its sweep, where that is still beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sweeps.run_dir import json_files
from sweeps.run_dir.exported import ExportedModel
from sweeps.run_dir.final_register import row_question
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import read_split

TRAINING_PAIRS = "training_pairs.json"


@dataclass(frozen=True)
class TrainingPairs:
    """The pairs of a train split."""

    ids: frozenset[str]
    questions: frozenset[str]
    """The `question_id` of each prompt."""

    @classmethod
    def of_sweep(cls, paths: SweepPaths) -> TrainingPairs:
        """Read the train split of a sweep. Raises DamagedFile."""
        rows = read_split(paths, "train")
        questions = frozenset(row_question(row["prompt"]) for row in rows)
        return cls(frozenset(row["id"] for row in rows), questions)

    @classmethod
    def of_model(cls, uri: str) -> TrainingPairs | None:
        """Return what a model was trained on, None where nobody knows.

        Raises DamagedFile when the file that says so is damaged.
        """
        model = ExportedModel.at(uri)
        name = f"{model.folder}/{TRAINING_PAIRS}"
        content = json_files.TRAINING_PAIRS.optional(model.store, name)
        if content is not None:
            return cls(frozenset(content["pairs"]), frozenset(content["questions"]))
        sweep = SweepPaths.of_folder(model.store.uri)
        is_of_sweep = model.folder == sweep.best and sweep.store.exists(sweep.split("train"))
        return cls.of_sweep(sweep) if is_of_sweep else None

    def encode(self) -> bytes:
        """Return the content of `training_pairs.json`."""
        content = {"pairs": sorted(self.ids), "questions": sorted(self.questions)}
        return json_files.TRAINING_PAIRS.encode(content)
