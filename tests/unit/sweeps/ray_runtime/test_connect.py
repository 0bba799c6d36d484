"""Finding a Ray to connect to."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import ray

from dpo_core.errors import SettingsError
from sweeps.ray_runtime import connect as cluster


@pytest.fixture
def left_behind(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return monkeypatch


def test_the_address_of_a_killed_cluster_is_not_waited_for(
    left_behind: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{probe.getsockname()[1]}"
    left_behind.setattr("ray._private.utils.read_ray_address", lambda *_: dead)
    assert cluster._address() == "local"
    left_behind.setenv("RAY_ADDRESS", dead)
    assert cluster._address() is None, "an address that was asked for is never replaced"


def test_a_running_cluster_is_used(left_behind: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        alive = f"127.0.0.1:{server.getsockname()[1]}"
        left_behind.setattr("ray._private.utils.read_ray_address", lambda *_: alive)
        assert cluster._address() is None


def test_a_job_keeps_the_variables_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    config = '{"runtime_env": {"env_vars": {"TOKENIZERS_PARALLELISM": "true"}}}'
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", config)
    assert "TOKENIZERS_PARALLELISM" not in cluster._worker_environment()
    assert cluster._worker_environment()["RAY_TRAIN_ENABLE_STATE_TRACKING"] == "1"


@pytest.mark.parametrize("error", [ConnectionError, ray.exceptions.AuthenticationError])
def test_a_ray_that_does_not_answer_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(**_: Any) -> None:
        raise error("Failed to connect to Ray cluster at 192.0.2.2:6379")

    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.2:6379")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(
        SettingsError, match=r"cannot be reached .*192\.0\.2\.2:6379.*RAY_AUTH_TOKEN"
    ):
        cluster.connected().__enter__()
