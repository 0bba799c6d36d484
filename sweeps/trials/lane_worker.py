"""What a lane's workers run: trials and calls, one after the other, from the `Lanes` mailbox."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from dpo_core.errors import TrialFailed
from sweeps.ray_runtime.failures import is_elsewhere, record_failure
from sweeps.ray_runtime.lanes import CANCELLED, FAILED, FINISHED
from sweeps.trials.train_worker import Cancelled, Resident, TrialJob, rank


def lane_loop(config: dict[str, Any]) -> None:
    """Ray Train's `train_loop_per_worker` for a lane: job after job until told to leave."""
    mailbox = _Mailbox(config["lanes"], config["lane"])
    resident: Resident | None = None
    served = 0
    while served != config["most_trials"]:
        taken = mailbox.take()
        if taken is None:
            return
        if "call" in taken["job"]:
            mailbox.answer(*taken["job"]["call"])
            continue
        job, served = TrialJob(**taken["job"]), served + 1
        try:
            resident = resident or Resident(job.paths)
            resident.train(job, report=mailbox.report, keep_going=mailbox.keep_going)
        except Cancelled:
            mailbox.end(CANCELLED)
        except Exception as error:
            record_failure(job.paths, job.trial, error)
            if mailbox.world > 1 or is_elsewhere(error):
                raise  # other ranks may wait for this one for ever, or the mailbox is gone
            mailbox.end(FAILED)
            if not isinstance(error, TrialFailed):
                return  # memory or state may be in disorder: the next trial gets a new process
        else:
            mailbox.end(FINISHED)


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
