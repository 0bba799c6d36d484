"""A lane worker's side of the `Lanes` actor: takes jobs, reports events, hears of cancellation."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from sweeps.ray_runtime.lanes import FINISHED


class _Mailbox:
    """A worker's side of `Lanes`. The first rank speaks; what it hears, every rank hears."""

    def __init__(self, lanes: Any, lane: int) -> None:
        import ray.train

        self.lanes, self.lane, self.ticket = lanes, lane, -1
        self.rank, self.world = rank(), ray.train.get_context().get_world_size()
        self.asked = 0.0

    def take(self) -> dict[str, Any] | None:
        """The next {ticket, job}; None: leave."""
        taken: dict[str, Any] | None = {}
        while taken == {}:
            taken = self._shared(lambda: self._call(self.lanes.take.remote(self.lane)))
        if taken is not None:
            self.ticket = taken["ticket"]
        return taken

    def answer(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """What `function` returns or raises becomes the ticket's only event."""
        try:
            event = {"result": function(*args)}
        except Exception as error:
            error.add_note(traceback.format_exc())
            event = {"error": error}
        self._call(self.lanes.tell.remote(self.ticket, event))
        self.end(FINISHED)

    def report(self, metrics: dict[str, Any]) -> None:
        """To Tune through the trial's driver, and to this lane's run in the dashboard."""
        import ray.train

        wanted = self._shared(lambda: self._call(self.lanes.tell.remote(self.ticket, metrics)))
        ray.train.report(metrics)
        if not wanted:
            raise Cancelled

    def keep_going(self) -> bool:
        """Asked at every step, answered from Ray once a second. Several ranks stop together, and
        so only at evaluations, where they talk anyway."""
        if self.world > 1 or time.monotonic() - self.asked < 1.0:
            return True
        self.asked = time.monotonic()
        return bool(self._call(self.lanes.tell.remote(self.ticket)))

    def end(self, outcome: str) -> None:
        if self.rank == 0:
            self._call(self.lanes.end.remote(self.ticket, outcome))

    def _shared(self, ask: Callable[[], Any]) -> Any:
        if self.world == 1:
            return ask()
        import torch.distributed

        answer = [ask() if self.rank == 0 else None]
        torch.distributed.broadcast_object_list(answer, src=0)
        return answer[0]

    @staticmethod
    def _call(reference: Any) -> Any:
        import ray

        return ray.get(reference)


class Cancelled(Exception):
    """Nobody wants the trial's result any more."""


def rank() -> int:
    import ray.train

    return int(ray.train.get_context().get_world_rank())
