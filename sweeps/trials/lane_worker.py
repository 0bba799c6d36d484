"""What a lane's workers run: trials and calls, one after the other, from the `Lanes` mailbox."""

from __future__ import annotations

from typing import Any

from dpo_core.errors import TrialFailed
from sweeps.ray_runtime.failures import is_elsewhere, record_failure
from sweeps.ray_runtime.lane_client import Cancelled, _Mailbox
from sweeps.ray_runtime.lanes import CANCELLED, FAILED, FINISHED
from sweeps.trials.train_worker import Resident, TrialJob


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
