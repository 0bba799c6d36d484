"""The messages between a sweep, its lanes and their workers: jobs, their events and their ends.

Tested in tests/unit/sweeps/ray_runtime/test_lanes.py and test_lane_client.py.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from sweeps.run_dir.paths import SweepPaths, SweepRef

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from sweeps.ray_runtime.lanes import Lanes

JobOutcome = Literal["finished", "failed", "cancelled", "died"]
FINISHED: Final = "finished"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
DIED: Final = "died"

NoJob = Literal["wait", "leave"]
"""An answer to a worker that asked for a job: ask again, or end the lane."""
WAIT: Final = "wait"
LEAVE: Final = "leave"


@dataclass(frozen=True)
class TrialJob:
    """A trial to train: all that a worker is sent; the rest is in the sweep's folder."""

    sweep: SweepRef
    trial: str
    point: Mapping[str, Any]
    seed: int

    @property
    def paths(self) -> SweepPaths:
        """Open the sweep's folder in this process."""
        return self.sweep.paths


@dataclass(frozen=True)
class CallResult:
    """The only event of a `FunctionCall`: what the function returned or raised."""

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True)
class FunctionCall:
    """A function to call on a worker. Function and arguments are pickled."""

    function: Callable[..., Any]
    args: tuple[Any, ...]

    def run(self) -> CallResult:
        """Call the function here. An error carries its traceback along as a note."""
        try:
            return CallResult(self.function(*self.args))
        except Exception as error:
            error.add_note(traceback.format_exc())
            return CallResult(error=error)


LaneJob = TrialJob | FunctionCall
EvaluationMetrics = dict[str, object]
"""The numbers of one evaluation by name, as Ray Tune takes them; see `trials.train_worker`."""
JobEvent = EvaluationMetrics | CallResult


@dataclass(frozen=True)
class Assignment:
    """A job that a lane has to do, with the ticket under which its events are reported."""

    ticket: int
    job: LaneJob


@dataclass(frozen=True)
class JobProgress:
    """The news of a job: events since the last look, and how it ended once it has."""

    events: list[JobEvent]
    outcome: JobOutcome | None
    detail: str = ""


class LaneConfig(TypedDict):
    """The configuration of a lane's workers; `lanes` is the actor that they call back.

    A lane leaves after `trials_per_lane` trials; None: never.
    """

    lane: int
    lanes: ActorHandle[Lanes]
    trials_per_lane: int | None
