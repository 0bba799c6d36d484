"""The register of a storage: every opening of a final split by a sweep or a night of that storage.

Each opening is one more chance to find a difference that is none. So how many openings a final split
is for is declared before the first, each verdict pays for all of them, and there is none beyond. Final
splits that have a prompt in common share their openings, directly or by others in between.

<storage>/.finals/openings/<key>.json    an opening, recorded before it happens
<storage>/.finals/prompts/<digest>.json  the prompts of a final split

Each opening is a file of its own, which an object store writes whole and keeps from all others. Two
sweeps that open final in the same second of an object store, which has no locks, may get one number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from dpo_core.preferences.pairs import normalized_question, question_id
from dpo_core.storage.store import Store
from sweeps.run_dir import json_files
from sweeps.run_dir.paths import SweepPaths
from sweeps.run_dir.prepared import read_split


@dataclass(frozen=True)
class AskedOpening:
    """An opening that is asked for."""

    sweep: str
    night: str | None
    """The date of the night, None for a sweep of no night."""
    why: str
    """The checkpoint and the objective."""
    against: str
    """The opponent: `reference`, or the path of the incumbent. Another one is another opening."""
    checkpoint: str
    """SHA-256 of the checkpoint's outcomes on select: a sweep's id may be used again."""
    when: str
    """UTC, ISO 8601."""

    @property
    def key(self) -> str:
        """Return what the same opening has in common, however often it is asked for."""
        return _digest([self.sweep, self.why, self.against, self.checkpoint])


@dataclass(frozen=True)
class RegisteredOpening(AskedOpening):
    """An opening of the register."""

    prompts: str
    """The file of the prompts, without its ending."""
    number: int
    """How many openings there are of these prompts up to this one."""
    declared: int
    """For how many openings they were declared before the first."""


@dataclass(frozen=True)
class FinalRegister:
    """The register in `store`."""

    store: Store
    _prompts: dict[str, frozenset[str]] = field(default_factory=dict, compare=False)
    """The prompts that were read, by digest; their files never change."""

    @classmethod
    def of(cls, storage: Store) -> FinalRegister:
        """Return the register of a storage."""
        return cls(storage.at(".finals"))

    def openings(self) -> list[RegisteredOpening]:
        """Read all openings, by time. Raises DamagedFile when one is damaged."""
        names = self.store.names("openings")
        rows = (json_files.REGISTERED.required(self.store, f"openings/{name}") for name in names)
        openings = (RegisteredOpening(**row) for row in rows)
        return sorted(openings, key=lambda opening: (opening.when, opening.number))

    def opened_questions(self) -> set[str]:
        """Return the `question_id` of every prompt of every final split that was opened."""
        digests = {opening.prompts for opening in self.openings()}
        return set().union(*map(self._questions, digests))

    def sharing(self, questions: Iterable[str]) -> list[RegisteredOpening]:
        """Return the openings of final splits with one of these prompts, or joined to one by others."""
        reached, apart = set(questions), self.openings()
        sharing: list[RegisteredOpening] = []
        while True:
            joined = [o for o in apart if not reached.isdisjoint(self._questions(o.prompts))]
            if not joined:
                return sorted(sharing, key=lambda opening: (opening.when, opening.number))
            sharing += joined
            apart = [opening for opening in apart if opening not in joined]
            reached = reached.union(*(self._questions(opening.prompts) for opening in joined))

    def next_opening(self, questions: Iterable[str], declared: int) -> tuple[int, int]:
        """Return which opening the next one of these prompts is, and of how many.

        Args:
            questions: The `question_id` of each prompt of the final split.
            declared: For how many openings the config declares it, which counts for the first alone.

        Returns:
            The number from 1; and the least that was declared for earlier ones that share prompts.
        """
        earlier = self.sharing(questions)
        return len(earlier) + 1, min((each.declared for each in earlier), default=declared)

    def record(
        self, asked: AskedOpening, questions: Iterable[str], declared: int
    ) -> RegisteredOpening:
        """Record an opening durably; one that is there already is returned as it is.

        Args:
            asked: What final is opened for.
            questions: The `question_id` of each prompt of the final split.
            declared: For how many openings the config declares it, as for `next_opening`.

        Returns:
            The opening, with its number.

        Raises:
            DamagedFile: An opening cannot be read, so that nobody can count.
        """
        prompts = sorted(set(questions))
        with self.store.lock("lock"):
            name = f"openings/{asked.key}.json"
            row = json_files.REGISTERED.optional(self.store, name)
            if row is not None:
                return RegisteredOpening(**row)
            number, declared = self.next_opening(prompts, declared)
            digest = _digest(prompts)
            opening = RegisteredOpening(
                **asdict(asked), prompts=digest, number=number, declared=declared
            )
            content = {"questions": prompts}
            json_files.REGISTERED_PROMPTS.write(self.store, f"prompts/{digest}.json", content)
            json_files.REGISTERED.write(self.store, name, asdict(opening))
        return opening

    def _questions(self, digest: str) -> frozenset[str]:
        if digest not in self._prompts:
            name = f"prompts/{digest}.json"
            content = json_files.REGISTERED_PROMPTS.required(self.store, name)
            self._prompts[digest] = frozenset(content["questions"])
        return self._prompts[digest]


def final_questions(paths: SweepPaths) -> set[str]:
    """Return the `question_id` of each prompt of a sweep's final split."""
    return {row_question(row["prompt"]) for row in read_split(paths, "final")}


def row_question(prompt: str | list[dict[str, str]]) -> str:
    """Return the `question_id` of a prompt as `splits/*.jsonl` has it."""
    return question_id(normalized_question(prompt if isinstance(prompt, str) else tuple(prompt)))


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
