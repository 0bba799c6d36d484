"""Points for Ray Tune: those of a search, drawn when Tune asks for them, or those of a fixed list.

Ray's OptunaSearch would keep a study of its own, whose state a resumed sweep does not have. Here every
draw begins from the records of the ledger. Tested in tests/unit/sweeps/search/test_searcher.py.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ray.tune.search import Searcher

from sweeps.run_dir.ledger import TrialRecord, searched
from sweeps.run_dir.paths import SweepPaths
from sweeps.search.drawn_point import DrawnPoint
from sweeps.search.next_point import History, Search, next_point
from sweeps.search.study import METRIC

TIME = "global_step"

Result: TypeAlias = dict[str, object]
"""What Tune passes on of a trial's report, by name."""


class _Points(Searcher):  # type: ignore[misc]
    """A searcher whose suggestion is a `DrawnPoint` as a dict."""

    def __init__(self, on_draw: Callable[[DrawnPoint], None]) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._on_draw = on_draw
        self._drawn: dict[str, DrawnPoint] = {}

    def suggest(self, trial_id: str) -> Result | str:
        """Return a point to run. Tune may ask twice for one trial; it gets the same answer."""
        if trial_id not in self._drawn:
            drawn = self._next()
            if drawn is None:
                return str(Searcher.FINISHED)
            self._drawn[trial_id] = drawn
            self._on_draw(drawn)
        return self._drawn[trial_id].as_dict()

    @abstractmethod
    def _next(self) -> DrawnPoint | None:
        """Return the next point; None when there is none."""

    def on_trial_complete(
        self, trial_id: str, result: Result | None = None, error: bool = False
    ) -> None:
        """Do nothing: what a trial showed is in the ledger, or nothing is learnt.

        Args:
            trial_id: Tune's own id.
            result: The trial's last report.
            error: Whether the trial failed.
        """

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is the truth, and reading a pickle of a study would run code."""


class SweepSearch(_Points):
    """A searcher that draws each point when Tune asks for it, from what the ledger holds then."""

    def __init__(
        self,
        search: Search,
        records: Sequence[TrialRecord],
        *,
        earlier: Sequence[TrialRecord] = (),
        unfinished: Sequence[DrawnPoint] = (),
        first_number: int,
        on_draw: Callable[[DrawnPoint], None],
    ) -> None:
        """Prepare to draw.

        Args:
            search: What is looked for.
            records: The ledger's records; the sequence grows while trials end.
            earlier: Trials of earlier sweeps, to learn from.
            unfinished: Points that are suggested first, under their own names.
            first_number: The number of the first trial with a new point.
            on_draw: Called with each suggestion before it runs.
        """
        super().__init__(on_draw)
        self._search, self._records, self._earlier = search, records, earlier
        self._unfinished, self._next_number = list(unfinished), first_number

    def _next(self) -> DrawnPoint | None:
        if self._unfinished:
            return self._unfinished.pop(0)
        number = self._next_number
        point = next_point(self._search, number, self._history())
        if point is None:
            return None
        self._next_number += 1
        return DrawnPoint(SweepPaths.trial_name(number), point, self._search.seed)

    def _history(self) -> History:
        ended = searched(self._records)
        names = {record.trial for record in ended}
        running = sorted(self._drawn.values(), key=lambda drawn: drawn.trial)
        return History(
            ended, [dict(d.point) for d in running if d.trial not in names], self._earlier
        )


class FixedPoints(_Points):
    """A searcher that suggests the given points, in order, and learns nothing."""

    def __init__(self, points: Sequence[DrawnPoint], on_draw: Callable[[DrawnPoint], None]) -> None:
        super().__init__(on_draw)
        self._left = list(points)

    def _next(self) -> DrawnPoint | None:
        return self._left.pop(0) if self._left else None
