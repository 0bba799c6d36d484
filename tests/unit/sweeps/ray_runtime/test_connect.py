"""Finding a Ray to connect to."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest
import ray

from dpo_core.errors import SettingsError
from sweeps.ray_runtime import connect as cluster
from sweeps.ray_runtime.local_ray import LocalRay

DEAD = LocalRay(None)
STRANGERS = LocalRay(None, "/tmp/ray/ray_current_cluster belongs to another user")


@pytest.mark.parametrize(
    ("requested", "running", "address"),
    [
        (None, DEAD, "local"),
        (None, LocalRay("127.0.0.1:6379"), "127.0.0.1:6379"),
        (None, STRANGERS, "local"),
        ("auto", LocalRay("127.0.0.1:6379"), "127.0.0.1:6379"),
        ("192.0.2.2:6379", STRANGERS, "192.0.2.2:6379"),
        ("local", LocalRay("127.0.0.1:6379"), "local"),
    ],
)
def test_the_ray_that_is_joined(
    monkeypatch: pytest.MonkeyPatch, requested: str | None, running: LocalRay, address: str
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if requested:
        monkeypatch.setenv("RAY_ADDRESS", requested)
    monkeypatch.setattr(cluster, "find_local_ray", lambda: running)
    assert cluster._address() == address


def test_a_strangers_ray_is_named_and_how_to_join_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "find_local_ray", lambda: STRANGERS)
    monkeypatch.setattr(logging.getLogger("dpo_sweeps"), "propagate", True)
    cluster._address()
    assert "belongs to another user" in caplog.text
    assert "RAY_ADDRESS=host:port" in caplog.text


@pytest.mark.parametrize("running", [DEAD, STRANGERS])
def test_auto_asks_for_a_ray_that_runs(monkeypatch: pytest.MonkeyPatch, running: LocalRay) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(cluster, "find_local_ray", lambda: running)
    with pytest.raises(SettingsError, match=r"^RAY_ADDRESS=auto: .*give host:port"):
        cluster._address()


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_at_which_nothing_listens_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"{prefix}127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setattr(cluster, "_PATIENCE_S", 0.1)
    with pytest.raises(SettingsError, match=rf"^RAY_ADDRESS={dead}: nothing answers within"):
        cluster._wait_until_it_answers(dead)


@pytest.mark.parametrize("address", ["nonsense", "host:", "host:port"])
def test_nonsense_is_no_address(address: str) -> None:
    with pytest.raises(SettingsError, match=rf"^RAY_ADDRESS={address}: is not host:port"):
        cluster._wait_until_it_answers(address)


def test_what_listens_and_is_no_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def times_out(**_: Any) -> None:  # as Ray's does after 40 s
        raise ray.exceptions.RpcError("Timed out while waiting for GCS to become available.")

    monkeypatch.setattr("ray._raylet.GcsClient", times_out)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(SettingsError, match=r"no Ray answers there .Timed out"):
            cluster._wait_until_it_answers(address)


def test_a_job_keeps_the_variables_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    config = '{"runtime_env": {"env_vars": {"TOKENIZERS_PARALLELISM": "true"}}}'
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", config)
    assert "TOKENIZERS_PARALLELISM" not in cluster._worker_environment()
    assert cluster._worker_environment()["RAY_TRAIN_ENABLE_STATE_TRACKING"] == "1"


@pytest.mark.parametrize("error", [ConnectionError, ray.exceptions.AuthenticationError])
@pytest.mark.parametrize("where", ["ray.init", "ray._raylet.GcsClient"])
def test_a_ray_that_does_not_answer_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], where: str
) -> None:
    def refuse(**_: Any) -> None:
        raise error("Failed to connect to Ray cluster at 192.0.2.2:6379")

    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.2:6379")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "why_silent", lambda *_: None)  # something listens
    monkeypatch.setattr("ray._raylet.GcsClient", lambda **_: None)
    monkeypatch.setattr(where, refuse)
    with pytest.raises(
        SettingsError, match=r"cannot be reached .*192\.0\.2\.2:6379.*RAY_AUTH_TOKEN"
    ):
        cluster.connected().__enter__()


SLOW = Exception("The current node timed out during startup. This could happen because …")


def test_a_start_that_timed_out_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([SLOW, SLOW, None])

    def init(**_: Any) -> None:
        error = next(answers)
        if error is not None:
            raise error

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr(cluster, "_PAUSE_S", 0)
    monkeypatch.setattr(logging.getLogger("dpo_sweeps"), "propagate", True)
    cluster._start("local", {})
    assert "too slow to start, attempt 2 of 3; trying again" in caplog.text


@pytest.mark.parametrize("error", [SLOW, RuntimeError("Failed to start GCS"), OSError(28, "full")])
def test_a_ray_that_does_not_start_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(**_: Any) -> None:
        raise error

    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setattr(cluster, "_PAUSE_S", 0)
    with pytest.raises(cluster.RayDoesNotStart, match=r"^Ray does not start \(.*end other work"):
        cluster._start("local", {})


def test_a_defect_in_how_ray_is_started_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise TypeError("unexpected keyword")

    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(TypeError):
        cluster._start("local", {})
