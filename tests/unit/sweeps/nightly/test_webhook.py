"""The webhook against a real server: retried, never fatal, its URL never shown."""

from __future__ import annotations

import contextlib
import http.server
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.nightly.webhook import VARIABLE, notify
from tests.support.chats import KEY, chat_server


@pytest.fixture
def tell(messages: list[str]) -> Callable[..., tuple[bool, list[str]]]:
    """Send a text; return whether that worked, and what was logged."""
    return lambda text="night 2026-11-24 is better": (
        notify(text, waits_s=(0.01, 0.01, 0.01), timeout_s=5),
        messages,
    )


def test_it_is_told_as_slack_wants_it(tell: Any, chat: Any) -> None:
    assert tell('"ü" & <b>') == (True, [])
    [(path, kind, content)] = chat.told
    assert path == f"/services/{KEY}"
    assert kind == "application/json"
    assert content == {"text": '"ü" & <b>'}


def test_a_server_that_fails_twice_is_told_at_the_third_try(tell: Any, chat: Any) -> None:
    chat.codes = [500, 429]
    assert tell() == (True, [])
    assert len(chat.told) == 3


def test_a_server_that_stays_down_fails_nothing_and_its_key_is_not_shown(
    tell: Any, chat: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    chat.codes = [503] * 9
    told, said = tell()
    assert not told
    assert len(chat.told) == 4
    assert said == [f"webhook http://127.0.0.1:{chat.server_port}/***: message not sent: HTTP 503"]
    for output in (*capfd.readouterr(), caplog.text, *said):
        assert KEY not in output
        assert "thekey" not in output


@pytest.mark.parametrize("code", [404, 410, 307, 301])
def test_what_will_not_get_better_is_not_tried_again_or_followed(
    tell: Any, chat: Any, code: int
) -> None:
    chat.codes = [code]
    told, said = tell()
    assert not told
    assert said[0].endswith(f"HTTP {code}")
    assert len(chat.told) == 1


def test_a_text_that_quotes_the_url_is_redacted(tell: Any, chat: Any, monkeypatch: Any) -> None:
    assert tell(f"could not reach {os.environ[VARIABLE]}") == (True, [])
    assert KEY not in chat.told[0][2]["text"]


def test_nobody_listens(tell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with chat_server() as server:
        port = server.server_port
    monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{port}/{KEY}")
    told, said = tell()
    assert not told
    assert said == [f"webhook http://127.0.0.1:{port}/***: message not sent: URLError"]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/key", "no-url-at-all-key", "http://[bad/key"]
)
def test_what_is_no_address_is_refused_without_showing_it(
    tell: Any, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv(VARIABLE, url)
    told, said = tell()
    assert not told
    assert len(said) == 1
    assert "key" not in said[0]
    assert "passwd" not in said[0]


def test_the_url_may_come_from_a_file(
    tell: Any, chat: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    secret = tmp_path / "url"
    secret.write_text(os.environ[VARIABLE] + "\n")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv(f"{VARIABLE}_FILE", str(secret))
    assert tell() == (True, [])
    monkeypatch.setenv(f"{VARIABLE}_FILE", str(tmp_path / "none"))
    told, said = tell()
    assert not told
    assert said


def test_without_a_url_nobody_is_told(tell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert tell() == (False, [])


def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # until the other side has closed
                while True:
                    self.wfile.write(bytes(2**16))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{server.server_port}/x")
        assert notify("hello", waits_s=[], timeout_s=20)
        server.shutdown()
