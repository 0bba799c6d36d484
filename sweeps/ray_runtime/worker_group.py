"""A Ray Train worker group with the resources of a trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sweeps.config.schema import ResourceSettings
from sweeps.ray_runtime.placement_groups import remove_orphans

Loop = Callable[[dict[str, Any]], None]


def fit_group(
    loop: Loop,
    config: dict[str, Any],
    *,
    name: str,
    storage: str,
    resources: ResourceSettings,
    callbacks: Sequence[Any] = (),
) -> None:
    """Run `loop(config)` on every worker and wait. Raises TrainingFailedError.

    What the group of an earlier attempt may still hold is set free first: it would wait for that.
    `name` is what the dashboard's Train tab shows; `storage` is where Ray keeps its own files.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    remove_orphans()
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
