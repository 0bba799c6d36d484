"""The soak of `python -m tests.soak`, shorter."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
import soak

pytestmark = [pytest.mark.ray, pytest.mark.integration]


def test_forty_trials_while_actors_die(
    ray_cluster: str, toy_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    from sweeps.cluster import connected

    ray.cloudpickle.register_pickle_by_value(soak)  # workers do not have the tests' folder
    with connected():
        soaked = soak.soak(toy_model, pairs_file, tmp_path, trials=40)
    soak.check(soaked, 40, most_growth=16 * 2**20)
