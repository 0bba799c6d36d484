"""The loop that a lane's workers run: trials and calls, one after the other, from the lane queue.

Tested in tests/integration/test_sweep.py.
"""

from __future__ import annotations

from dpo_core.errors import TrialFailed
from dpo_core.storage.private_tmp import use_own_tmp_folder
from sweeps.ray_runtime.failures import is_caused_elsewhere, record_failure
from sweeps.ray_runtime.lane_client import Cancelled, LaneWorkerClient
from sweeps.ray_runtime.lane_messages import (
    CANCELLED,
    FAILED,
    FINISHED,
    FunctionCall,
    LaneConfig,
)
from sweeps.trials.train_worker import TrialWorker


def lane_loop(config: LaneConfig) -> None:
    """Do job after job until told to leave, as Ray Train's `train_loop_per_worker`."""
    use_own_tmp_folder()
    lane = LaneWorkerClient(config["lanes"], config["lane"])
    worker: TrialWorker | None = None
    trials = 0
    while trials != config["trials_per_lane"]:
        job = lane.next_job()
        if job is None:
            return
        if isinstance(job, FunctionCall):
            lane.answer(job)
            continue
        trials += 1
        try:
            worker = worker or TrialWorker(job.paths)
            worker.train(job, report=lane.report, keep_going=lane.keep_going)
        except Cancelled:
            lane.finish(CANCELLED)
        except Exception as error:
            record_failure(job.paths, job.trial, error)
            if lane.world_size > 1 or is_caused_elsewhere(error):
                raise  # other ranks may wait for this one for ever, or the lane queue is gone
            lane.finish(FAILED)
            if not isinstance(error, TrialFailed):
                return  # memory or state may be in disorder: the next trial gets a new process
        else:
            lane.finish(FINISHED)
