"""A Ray Train worker group with the resources of a trial.

Tested in tests/integration/test_sweep.py, with and without lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime.orphaned_cleaners import end_orphaned_cleaners
from sweeps.ray_runtime.placement_groups import remove_leftover_groups

if TYPE_CHECKING:
    from ray.train import UserCallback

ConfigT = TypeVar("ConfigT", bound=Mapping[str, object])
Loop: TypeAlias = Callable[[ConfigT], None]
"""A `train_loop_per_worker` of Ray Train."""


def fit_group(
    loop: Loop[ConfigT],
    config: ConfigT,
    *,
    name: str,
    storage: str,
    resources: ResourceSettings,
    callbacks: Sequence[UserCallback] = (),
) -> None:
    """Run `loop(config)` on every worker and wait. Raises TrainingFailedError.

    What an earlier attempt left behind is removed first: this one would wait for the CPUs and GPUs of
    its placement group, and its cleaner keeps memory.

    Args:
        loop: What each worker runs.
        config: Its argument; what it holds is pickled.
        name: The run's name in the dashboard's API of Ray Train.
        storage: The folder of Ray's own files.
        resources: How many workers there are, and what each of them gets.
        callbacks: Ray Train's callbacks, which run in its controller.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    remove_leftover_groups()
    end_orphaned_cleaners()
    gpus = {"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}
    TorchTrainer(
        loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker={"CPU": resources.cpus_per_worker, **gpus},
        ),
        run_config=RunConfig(name=name, storage_path=storage, callbacks=list(callbacks)),
    ).fit()
