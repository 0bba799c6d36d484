"""The death of Ray's head, told in words of ours: a listener takes the head's part."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import ray

from dpo_core.errors import DataError
from sweeps.ray_runtime import head_watch
from sweeps.ray_runtime.head_watch import HeadLost, watched_head

TOLD = r"^Ray's head at 127\.0\.0\.1:\d+ does not answer any more: .*`dpo-sweeps resume FOLDER`"


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(head_watch, "_LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(head_watch, "_SILENCE_S", 0.4)
    monkeypatch.setattr(head_watch, "_end_program", lambda: None)
    monkeypatch.setattr(head_watch, "_ENDING_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener
    for thread in threading.enumerate():  # before the program can be ended again
        if thread.name == head_watch._THREAD:
            thread.join(10)


def address_of(head: socket.socket) -> str:
    return f"127.0.0.1:{head.getsockname()[1]}"


def test_a_head_that_answers_is_let_be(head: socket.socket) -> None:
    with watched_head(address_of(head)):
        time.sleep(1.0)
    with pytest.raises(ZeroDivisionError), watched_head(address_of(head)):
        raise ZeroDivisionError
    with pytest.raises(ray.exceptions.RaySystemError), watched_head(address_of(head)):
        raise ray.exceptions.RaySystemError("of another cause")


def test_its_death_interrupts_what_waits(head: socket.socket) -> None:
    address = address_of(head)
    threading.Timer(0.1, head.close).start()
    with pytest.raises(HeadLost, match=TOLD), watched_head(address):
        time.sleep(30)


def test_a_head_that_comes_back_in_time_is_none_lost(
    head: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, False, False, False])
    monkeypatch.setattr(head_watch, "_answers", lambda _: next(answers, True))
    with watched_head(address_of(head)):
        time.sleep(1.0)


def test_an_error_of_ray_that_came_first_is_told_as_the_death_that_caused_it(
    head: socket.socket,
) -> None:
    address = address_of(head)
    head.close()
    with pytest.raises(HeadLost, match=TOLD), watched_head(address):
        raise ray.exceptions.RaySystemError("failed to connect to GCS")


@pytest.mark.parametrize("error", [DataError("a row"), ZeroDivisionError(), KeyboardInterrupt()])
def test_an_error_of_another_kind_stays_itself(head: socket.socket, error: BaseException) -> None:
    address = address_of(head)
    head.close()
    with pytest.raises(type(error)), watched_head(address):
        raise error


def test_a_program_that_cannot_be_interrupted_is_ended_with_the_words(
    head: socket.socket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(head_watch, "_end_program", ended.set)
    monkeypatch.setattr("_thread.interrupt_main", lambda: None)
    with watched_head(address_of(head)):
        head.close()
        assert ended.wait(10)
    assert "error: Ray's head at" in capfd.readouterr().err
