"""Shared by all tests: no hub, caches of their own, and one local Ray for those that need it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.cluster import _wait_for, free_port, ray_processes
from tests.support.outside_inputs import outside_input

os.environ.update(
    {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
        # Not Ray's 15: beside the tests of the other worker, deadlines of tests would pass unmet.
        "RAY_worker_niceness": "0",
        # A token of this session's own: nothing is read from or written to the home folder.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
)

import psutil
import pytest

from dpo_core.preferences import to_row
from dpo_core.storage.private_tmp import (
    private_tmp_folder,
    remove_folders_of_killed_runs,
    temporary_folder,
    use_own_tmp_folder,
)
from sweeps.ray_runtime.local_ray import private_ray_folder
from tests.support.chats import chat_server
from tests.support.toys import save_toy_model, toy_pairs

# What tests leave is in one folder, which the last process of the session removes: also what programs
# leave that tests kill. Folders of `tmp_path` stay where pytest keeps those of the last sessions.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(temporary_folder()))
use_own_tmp_folder()

INTEGRATION = Path(__file__).parent / "integration"


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a real tokenizer, as a directory that transformers loads."""
    folder = tmp_path_factory.mktemp("model")
    save_toy_model(folder)
    return folder


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL of preference pairs that a tiny model can learn to rank."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("".join(json.dumps(to_row(pair)) + "\n" for pair in toy_pairs(60)))
    return path


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One `ray start --head` with dashboard for the whole session; gives the dashboard's URL."""
    _refuse_a_second_cluster(tmp_path_factory.getbasetemp().parent)
    port, dashboard, agent, metrics = (free_port() for _ in range(4))
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=2"]
    command += ["--resources", '{"driver": 1}']  # where `resources.driver_resource` sends drivers
    # Of its own, or another Ray on this machine would answer for this one: a job's driver is sent to
    # the cluster that was started last in the same folder.
    session = contextlib.ExitStack()
    command += [f"--temp-dir={session.enter_context(private_ray_folder())}"]
    command += [f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}"]
    # --block, so that ending it ends this cluster and no other on the machine.
    head = subprocess.Popen([*command, "--disable-usage-stats"], stdout=subprocess.DEVNULL)
    os.environ["RAY_ADDRESS"] = f"127.0.0.1:{port}"
    os.environ["TEST_RAY_HEAD"], os.environ["TEST_RAY_METRICS"] = str(head.pid), str(metrics)
    url = f"http://127.0.0.1:{dashboard}"
    try:
        _wait_for(f"{url}/api/version", head)
        yield url
    finally:
        del os.environ["RAY_ADDRESS"]
        # Ending it politely drains the node for half a minute.
        for process in [*ray_processes(), head]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait(60)
        session.close()


def _refuse_a_second_cluster(folder: Path) -> None:
    """Without the groups of pytest-xdist both workers would start Ray, too much for two cores.

    `folder` is one that the workers of this run share.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    try:
        (folder / "ray-was-started").touch(exist_ok=False)
    except FileExistsError:
        pytest.fail("another worker has started Ray: does this pytest lose `xdist_group`?")


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A chat whose webhook the environment names; see `chats.chat_server`."""
    with chat_server() as server:
        monkeypatch.setenv("DPO_SWEEPS_WEBHOOK", server.url)
        yield server


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every message of the logger `dpo_sweeps` during the test, in order."""
    logger, handler = logging.getLogger("dpo_sweeps"), _Messages()
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.manager._clear_cache()
    return handler.texts


@pytest.fixture(scope="session")
def hh_harmless() -> Path:
    """Real human preference pairs, where they are at hand."""
    return outside_input("data/hh_harmless.jsonl")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests pytest-xdist must run on the same worker, one after another.

    Those that start Ray share a cluster, and its deadlines want it to have a core: `ray job stop`
    grants three seconds. Other files of integration tests share a server or a browser.
    """
    for item in items:
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
        elif item.path.is_relative_to(INTEGRATION):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what runs left that tests have killed, once the last worker of this session is done."""
    if not hasattr(config, "workerinput"):
        remove_folders_of_killed_runs(private_tmp_folder())
